"""Which question asks for which kind of trait: the rules probes are derived from, in order; the first that fits asks.

A pattern meets the trait as plain lower-case words ("i don't have a dog"). ``v`` marks the value that is asked for
(without it, all content words of the trait count), ``x`` a part of the trait that the question takes up.
"""

# ruff: noqa: E501  (one rule is read best as one row)
from __future__ import annotations

import re
from dataclasses import dataclass

from personatune.lexicon import group_values


@dataclass(frozen=True, slots=True)
class ProbeRule:
    """One kind of trait and how to ask for it.

    Attributes:
        attribute: what the question asks for; traits of one attribute may all answer it.
        questions: paraphrases; ``{x}`` is filled from the trait.
        exclusive: groups of the lexicon in which only one value can be true.
        broad: the question doesn't single out one trait, so every trait of the persona with this attribute answers it.
    """

    attribute: str
    pattern: re.Pattern[str]
    questions: tuple[str, ...]
    exclusive: tuple[str, ...] = ()
    broad: bool = False


def _any(*group_names: str) -> str:
    values = sorted({value for name in group_names for value in group_values(name)}, key=len, reverse=True)
    return "(?:" + "|".join(map(re.escape, values)) + ")(?:s|es)?"


_PETS = _any("pet", "dog breed") + r"|dogs?|cats?|pupp(?:y|ies)|pups?|kittens?|kitt(?:y|ies)|bunn(?:y|ies)|mice|pets?"
_JOBS = _any("job") + r"|cop|clerk|attorney|physician|developer|consultant|analyst|coach|pastor|preacher|veteran"
_RELATIVE = (
    r"(?:step)?(?:mother|mom|mommy|mum|mama|father|dad|daddy|papa|paps|parents|brothers?|sisters?|siblings|sons?|"
    r"daughters?|kids|children|husband|wife|boyfriend|girlfriend|fiancee?|partner|spouse|ex|grand(?:mother|father|ma|pa|"
    r"parents|son|daughter)|aunt|uncle|cousins?|nephews?|nieces?|roommates?|best friend|friends?|family|boss|neighbors?)"
)
_NUMBER = r"(?:\d+|(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)(?: \w+)?|\w*teen|ten|eleven|twelve)"
_MAYBE = r"(?:\w+ly |also |just |still |now |have always |always |often |do |sometimes |recently )*"
_LIKES = (
    r"(?:like|love|enjoy|adore|prefer|am into|am fond of|am obsessed with|am addicted to|am a (?:big |huge )?fan of)"
)
_NEGATIVE = r"(?:don't|do not|didn't|can't|cannot|can not|never|won't|am not|i'm not|not|haven't|couldn't|wouldn't)"

_TABLE: list[tuple[str, str, tuple[str, ...], str, bool]] = [
    # attribute, pattern, questions, exclusive groups, broad
    ("birthday", r"\bbirthday\b|\bi (?:was|am) born (?:in|on) (?:the )?(?P<v>(?:jan|feb|march|april|may|june|july|aug|sep|oct|nov|dec)\w*.*)",
     ("When is your birthday?", "On which day do you turn a year older?", "When do you celebrate being a year older?"), "month", False),
    ("name", r"\bmy name is (?P<v>.+)|\b(?:people|friends|they) call me (?P<v2>.+)", ("What should I call you?", "What's your name?"), "", False),
    ("fear", r"\b(?:afraid|scared|terrified|frightened|fearful|fear|phobia)\b(?: (?:of|to))? ?(?P<v>.*)|(?P<v2>.+) (?:scares?|terrif(?:y|ies)|frightens?) me",
     ("What are you afraid of?", "What scares you the most?", "Is there anything that frightens you?", "What is your biggest fear?"), "", True),
    ("allergy", r"\ballerg\w+(?: to)? ?(?P<v>.*)|\bintolerant\b",
     ("Is there anything your body can't handle?", "Are there things you have to stay away from for your health?", "Do you have any allergies?"), "", True),
    ("diet", r"\b(?:vegan|vegetarian|vegetarians|pescatarian|kosher|halal|keto|paleo|gluten free|diet|carnivore|organic|plant based)\b",
     ("What is your diet like?", "How would you describe the way you eat?", "What do you usually eat?", "Are there rules about what ends up on your plate?"), "diet", False),
    ("disliked food", rf"\b(?:i|but) {_MAYBE}(?:hate|dislike|despise|{_NEGATIVE} (?:really )?(?:like|eat|enjoy|stand|touch|care for))(?: eating| to eat| the taste of)? (?P<v>(?:\w+ ){{0,3}}(?:{_any('food', 'sweet', 'fruit or vegetable', 'allergen')}|vegetables|meat|fruit|spicy|fast food|veggies|greens|mayonnaise|pickles|olives|onions).*)",
     ("Is there any food you can't stand?", "What food would you never order?", "Which foods do you avoid?", "What would you never put in your mouth?"), "", True),
    ("disliked food", rf"\bi {_MAYBE}{_NEGATIVE} (?:\w+ )?eat (?P<v>.+)", ("Is there any food you avoid?", "What would you never put in your mouth?"), "", True),
    ("avoided drink", rf"\bi {_MAYBE}(?:hate|{_NEGATIVE} (?:\w+ )?(?:drink|like|smoke|do))(?: drinking| drink)? ?(?P<v>(?:\w+ )?(?:{_any('drink')}|alcohol|drugs|caffeine|smoking|cigarettes))",
     ("Is there anything you stay away from when you go out?", "Is there anything others consume that you won't touch?"), "", True),
    ("childlessness", rf"\b(?:{_NEGATIVE} (?:have|want)(?: any)?|no) (?P<v>kids|children)\b",
     ("Are you a parent?", "Do you have a family of your own?", "Any little ones at home?"), "", False),
    ("driving", rf"\b(?:{_NEGATIVE} (?:know how to |have a )?(?:drive|car|license)|{_NEGATIVE} (?:own|have) (?:a|any) (?:car|vehicle))",
     ("How do you get around?", "How do you usually travel through town?"), "", False),
    ("inability", r"\bi (?:\w+ )?(?:can't|cannot|can not|couldn't|am unable to|don't know how to|never learned (?:how )?to|am (?:bad|terrible|awful) at|am not (?:very |so )?good at) (?P<v>(?!wait|stop|get enough|live without|imagine|resist|stand|believe).+)",
     ("What are you really bad at?", "Is there something most people manage that you don't?", "What is something you never learned or aren't able to do?"), "", True),
    ("dislike", r"\b(?P<v2>.+) (?:makes? me (?:cringe|sick|angry|mad|sad)|annoys? me|bothers? me|drives? me crazy|gets? on my nerves)|\bi (?:\w+ ){0,3}(?:hate|dislike|despise|loathe|detest|can't stand|cannot stand|not (?:a (?:big |huge )?fan of|fond of|like|love|enjoy|into)|(?:don't|do not|didn't|never)(?: \w+ly)? (?:like|love|enjoy|care for))\b(?: to| when| it when)? (?P<v>.+)",
     ("What is something you can't stand?", "What really annoys you?", "Is there anything you don't enjoy at all?", "Which things do you dislike?"), "", True),
    ("favourite", r"\bmy (?:\w+ )?favou?rite (?P<x>(?!of\b)[\w']+(?: (?!is\b|are\b|was\b|were\b|would\b|has\b)[\w']+){0,4}?) (?:is|are|was|were|would be|has to be|have to be|used to be|include|includes)(?: (?:definitely|probably|to|the color))? (?P<v>.+)",
     ("What's your favorite {x}?", "Do you have a favorite {x}?", "Tell me, what's your favorite {x}?", "I'm curious: what's your favorite {x}?"), "*", False),
    ("favourite", r"\bmy (?P<x>hobby|hobbies|passion|pastime|interests) (?:is|are|include|includes) (?P<v>.+)", ("What is your {x}?", "What do you do for fun?"), "", False),
    ("favourite", r"\b(?P<v>.+?) (?:is|are|was|were) (?:one of |definitely |by far )?my (?:all time |absolute |most )?favou?rite (?P<x>.+)",
     ("What's your favorite {x}?", "Do you have a favorite {x}?", "Tell me, what's your favorite {x}?"), "*", False),
    ("favourite", r"^(?P<v>.+?) (?:is|are|was) my (?:\w+ ){0,2}(?:favou?rites?|passion|obsession)$", ("What do you like best of all?", "What could you talk about for hours?"), "", False),
    ("favourite", r"\bmy favou?rites? (?P<v>.+)", ("What do you like best of all?", "What are some of the things you like best?"), "", True),
    ("age", rf"\bi(?:'m| am) (?:\w+ ){{0,3}}(?P<v>{_NUMBER}) (?:years?|yrs?) old\b(?! (?:son|daughter|dog|cat|car|child))|\bi (?:am|'m) (?:only |almost |about |nearly |currently |over )?(?P<v2>{_NUMBER})(?: years)?(?: of age)?(?: now)?$|\bi (?:just )?turn(?:ed)? (?P<v3>{_NUMBER})|\bi was born (?:in )?(?P<v4>\d+)",
     ("How old are you?", "May I ask how old you are?", "What age are you?"), "number", False),
    ("age", r"\bi am (?:in )?(?:an? |my )(?:very )?(?P<v>old|elderly|middle aged|young|teenager|teen|senior citizen|senior|twenties|thirties|forties|fifties|sixties|20s|30s|40s|50s|60s|millennial)\b(?: (?:man|woman|lady|person))?$",
     ("How old are you?", "What generation do you belong to?"), "", False),
    ("grandchildren", r"\b(?P<v>grandchildren|grandkids|grandson|granddaughter|grandmother (?:of|to)|grandma (?:of|to)|grandpa (?:of|to))\b", ("Do you have a large family?", "Do you have a family of your own?", "Who are the youngest members of your family?"), "", False),
    ("pregnancy", r"\b(?:pregnant|expecting)\b.*", ("Is anything big about to happen in your life?", "What big change is coming up for you?"), "", False),
    ("relationship", r"^(?!my )(?:.*\b)?(?:i am|i'm|i have been|i've been|recently|getting|got|never) (?:\w+ )?(?P<v>married|engaged|marrying)\b|\bi have (?:a|an) (?:\w+ )*(?P<v2>husband|wife|boyfriend|girlfriend|fiancee?)",
     ("Is there someone special in your life?", "Are you in a relationship?", "What's your relationship status?"), "marital status", False),
    ("relationship", r"\bi (?:am|was|got|have been) (?:\w+ )?(?P<v>single|divorced|widowed|bachelor|widow|separated|divorce)\b(?! (?:mother|mom|father|dad|parent))",
     ("What's your relationship status?", "How is your love life?"), "marital status", False),
    ("siblings", r"\bi (?:have|had|grew up with|am|'m|got)\b.*\b(?P<v>brothers?|sisters?|siblings?|only child|twins?|(?:youngest|oldest|eldest|middle)\b.*(?:of|child|kids|children)\b.*)|\bi'm (?P<v2>an only child|the (?:youngest|oldest|middle).*)",
     ("Did you grow up with brothers or sisters?", "How many siblings do you have?", "Who did you grow up with?", "What's your place among the kids in your family?"), "", False),
    ("children", r"\b(?:i have|i'm|i am|i raise|i have raised|we have|i adopted)\b.*\b(?P<v>kids?|child|children(?! s\b)|sons?|daughters?|bab(?:y|ies)|toddlers?|boys|girls|triplets|(?:single |proud |new )?(?:mother|mom|mum|father|dad|parent)(?= (?:of|to)\b|$))\b",
     ("Do you have a family of your own?", "Are there any little ones in your house?", "Are you raising anyone?"), "", False),
    ("housemates", r"\bi (?:\w+ )?(?:live|lives|reside|living|stay)(?: at home)? (?:\w+ )?with (?P<v>.+)|\bi (?:\w+ )?(?:live|am living) (?P<v2>alone|by myself)",
     ("Who shares your home with you?", "Who do you live with?", "Do you have the place to yourself?"), "", False),
    ("relative", rf"^(?:both (?:of )?|all (?:of )?|one of |when i was \w+ )?my (?:\w+ )??(?P<x>{_RELATIVE})\b.+",
     ("What can you tell me about your {x}?", "Tell me something about your {x}.", "What's special about your {x}?"), "", False),
    ("upbringing", r"\b(?:orphan|adopted|foster|raised by|raised in a|was raised|raised me|homeschooled|army brat|grew up (?:poor|rich|on a farm|in a|without|with|very|as))\b.*",
     ("What was your childhood like?", "How were your early years?", "What was it like for you as a kid?"), "", False),
    ("family", r"\b(?:i have|i come from|i'm from) a (?P<v>(?:\w+ )*family)\b.*", ("Who is there in your life besides you?", "How many of you are there at home?"), "", False),
    ("pet", rf"\b(?:(?:i|we) (?:also )?(?:have|own|had|adopted|adopt|raise|raised|rescue|rescued|got|get|breed|care for|just got|live with)\b.*?)\b(?:pet (?!names?|store))?(?P<v>{_PETS})\b(?! (?:trophies|collection|figurines))",
     ("Do you have any pets?", "Do you share your home with any animals?", "Are there any animals in your household?", "Is there a furry or feathered friend in your life?"), "pet", False),
    ("pet", rf"\bmy (?:pet )?(?:\w+ )?(?P<v>{_PETS})\b", ("Do you have any pets?", "Do you share your home with any animals?", "Are there any animals in your household?"), "pet", False),
    ("animals", rf"\b(?:{_LIKES}|am an?)\b.*?\b(?<!gummy )(?<!imagine )(?<!hot )(?P<v>{_PETS}|{_any('wild animal')}) ?(?:person|lover|lady)?(?:$| and\b| more\b| over\b)",
     ("Which animals do you like?", "What kind of animals are you drawn to?", "Do you have a soft spot for any animal?"), "", True),
    ("origin", r"\bi(?:'m| am|'m originally| am originally| originally)? (?:come |came |hail )?(?:originally )?from (?P<v>.+)|\bi was (?:born|raised|born and raised|brought up) (?:and raised )?(?:in|on|near|at) (?P<v2>.+)|\bi (?:grew up|spent my childhood) (?:in|on|near|at|by) (?P<v3>.+)|\bi immigrated (?:\w+ )*from (?P<v4>.+)",
     ("Where are you from originally?", "Where did you spend your childhood?", "Where are you from?"), "us state|country|city", False),
    ("home", r"\b(?:i |we )(?:\w+ ){0,2}(?:live|lived|reside|stay|living|moved|moving|move|relocated) (?:\w+ )??(?:in|on|at|near|to|from|by|down|close to|out|next to|just|outside|across)\b ?(?P<v>.+)",
     ("Where do you live?", "Where is your home?", "What can you tell me about the place where you live?"), "us state|country|city|dwelling|settlement", False),
    ("home", r"\bi (?:am|'m) an? (?P<v>.+) (?:resident|native)\b|\bi (?:own|have|rent|bought|built|just bought) (?:\w+ ){0,3}(?P<v2>home|homes|house|houses|mansion|condo|apartment|cabin|castle|farm|cottage|ranch)\b.*",
     ("What is your place like?", "Where do you live?"), "", False),
    ("nationality", rf"\bi (?:am|'m) (?:an? )?(?:\w+ )?(?P<v>{_any('nationality', 'cuisine')})(?: (?:man|woman|citizen|immigrant|girl|boy|guy|american|descent))?$|\bi am (?P<v2>(?:half|part) .+)",
     ("What's your nationality?", "Where are your roots?", "What's your background?"), "nationality|cuisine", False),
    ("dream", r"\b(?:i|my) (?:\w+ )?(?:want|hope|wish|dream|dreams|plan|aspire|would like|would love|'d like|'d love|am going|goal|fantasize|intend|hoping|planning|dreaming|ambition|look forward|am saving)(?: (?:is|was))?(?: to| of| that| about| i (?:was|were|had|could))* (?P<v>(?!to be left).+)|\b(?:someday|one day|when i grow up)\b.*",
     ("What are your dreams for the future?", "Is there something you wish for?", "What do you hope for in life?", "What are your plans for the years ahead?"), "", True),
    ("job", r"^i (?:also |now )?teach (?!myself)(?P<v>.+)", ("What do you do for a living?", "How do you spend your working days?", "How do you earn your living?"), "", False),
    ("study", r"\b(?:i (?:am|'m) (?:\w+ ){0,3}(?:in|at|attending|going to) (?:\w+ ){0,3}(?:school|college|university|grade)|i (?:\w+ )?(?:(?:go|went) to (?:\w+ ){0,4}(?:school|college|university|class|classes|med|grad|law)|attend|attended|study|studied|studying|major|majored|graduated|graduate|dropped out|got my|have a degree|earned)|(?:student|freshman|sophomore|phd|degree|majoring|major|studying|graduate|courses|classes|college|university|grades in school))\b.*",
     ("What can you tell me about your education?", "Where are you in your education?", "What is or was your time in education like?", "What did you learn, or are you still learning?"), "school subject", False),
    ("former job", r"\bi (?:used to|once) (?:be|work|own|teach|drive|run|sell|serve)\b(?: an?| as an?| as| at| for| in)? (?P<v>.+)|\bi (?:was|worked|served) (?!(?:an? )?(?:\w+ )?(?:child|kid|girl|boy|young|little|born|raised|never)\b)(?:once |formerly |previously )?(?:an? |as an? |as |at |for |in )(?P<v2>.+)|\bi (?:am|'m) (?:a |an )?(?:\w+ )?retired (?P<v3>.*)",
     ("What did you do earlier in your life?", "What were you doing some years ago?", "What did you do before now?"), "", True),
    ("unemployment", r"\bi (?:\w+ ){0,2}(?:unemployed|lost my (?P<v>job)|(?:got|was) (?:laid off|fired)|between (?P<v2>jobs)|do not (?:have|want) a (?P<v3>job)|don't (?:have|want) a (?P<v4>job)|looking for (?:\w+ ){0,3}(?P<v5>job|work)|don't work|do not work|need a (?P<v6>job))\b",
     ("What do you do for a living?", "How is your career going?", "How are things going for you professionally?"), "", False),
    ("retirement", r"\bi (?:am|have been) (?:\w+ )?(?P<v>retired)(?: now)?$", ("What do you do for a living?", "How do you spend your working days?"), "", False),
    ("job", rf"\b(?:i am|i'm|i (?:\w+ )?work as|i became|working as|i (?:also )?moonlight as|my (?:current |day )?(?:job|profession|occupation|career) (?:is|as)|i got a job as)\b(?: (?!(?:in|for|at|to|with|by|and|but|when|because|who|of)\b)[\w']+){{0,5}}? (?P<v>(?:\w+ )?(?:{_JOBS}))\b(?! (?:student|major|fan|lover|at heart))",
     ("What do you do for a living?", "What kind of work do you do?", "How do you earn your living?", "What's your profession?"), "job", False),
    ("job", r"\bi (?:\w+ )?(?:work(?! out)|am employed|am working|got a job|have a job|am self employed|freelance|volunteer|intern)\b(?! with my\b)(?: (?:as|at|in|for|on|with|from|part time|full time))*(?: an?| the)? ?(?P<v>.+)|\bmy (?:current |day |new )?(?:job|profession|occupation|career|work) (?:is|was|involves|consists of) (?P<v2>.+)|\bi (?:run|manage) (?:a|an|my|the|our)\b.*|\bi (?:teach|sell|repair|clean|deliver|babysit|design|bartend|wait tables|fix|build|nurse|own (?:\w+ )*(?:business|store|shop|restaurant|company|salon|bakery|bar|firm))\b.*|.+ for a living\b|\bi (?:am|'m) (?:\w+ )*(?:army|navy|military|air force|marines|business|manager|assistant|owner|agent|officer|specialist|consultant|worker|driver|technician|clerk|operator|director|entrepreneur|ceo|housewife|homemaker|stay at home \w+|self employed|intern|boss|supervisor|representative|trainer|instructor|guard|builder|inspector|star|player|rep|stripper|planner|investigator|hygienist)\b.*",
     ("What do you do for a living?", "How do you spend your working days?", "How do you earn your living?", "What's your profession?"), "", False),
    ("job", r"\bi(?:'m| am) (?:currently |now )?an? (?:\w+ ){0,2}?(?P<v>(?!(?:lover|hater|drinker|reader|runner|gamer|believer|hiker|collector|swimmer|sister|brother|mother|father|daughter|eater|sleeper|number|member|winner|player|vegetarian|christian|virgin|hunter|smoker|survivor|teenager|preschooler|thinker|listener|leader|rider|surfer|loner|slacker|senior|minor|twister|speaker|dreamer|introvert|racist|feminist|perfectionist|optimist|pessimist|narcissist|nudist|lesbian|walker|dresser|activist|fighter|biker|camper|procrastinator|person)\b)\w{3,}(?:er|or|ist|ian|smith|maker))(?: (?:at|for|in|by|from|who|and|on)\b.*)?$",
     ("What do you do for a living?", "What kind of work do you do?", "How do you earn your living?", "What's your profession?"), "job", False),
    ("vehicle", rf"\bi (?:\w+ )?(?:drive|own|have|ride|bought|lease|just bought|got|recently bought)\b (?:\w+ ){{0,4}}?(?P<v>{_any('vehicle', 'car make')}|suburban|porsche|wheels|harley)\b.*|\bi drive (?P<v2>.+)|\bmy (?:car|truck|vehicle) (?P<v3>.+)",
     ("What do you drive?", "How do you get around?", "What's parked in front of your home?"), "", False),
    ("health", r"^(?!.*\b(?:like|love|enjoy)\b).*\b(?:suffer|suffered|diagnosed|depress\w*|anxiety|disabled|disability|blind|deaf|diabet\w*|cancer|asthma|surgery|sick|illness|wheelchair|insomnia|adhd|ocd|autis\w*|pain|arthritis|disease|disorder|handicapped|migraines?|therapist|stutter|heart (?:attack|condition)|confined|broke my|amputee|overdose|alcoholic|sober|addict|limp|bipolar|injur\w*|medication)\b.*",
     ("How is your health?", "How have you been, health-wise?", "Is there anything about your health I should know?"), "", False),
    ("looks", r"\bmy (?P<x>hair|eyes?|skin|nose|hands|feet|face|body|height|beard|teeth|smile)\b(?P<v>.+)", ("What does your {x} look like?", "What do you look like?", "How would you describe your looks?"), "colour|hair colour|hair style", False),
    ("looks", r"^(?!.*\bfans?\b).*\b(?:i am|i'm|i have|i've got|i got|i weigh|i dye|i stand|i look)\b.*\b(?:hair|eyed?|eyes|tall|short|shortest|tallest|blonde?|brunette|redhead|beard|tattoos?|glasses|freckles|skinny|overweight|fat|chubby|thin|pounds|feet|foot|braces|muscular|bald|piercings?|skin|beautiful|handsome|ugly|petite|obese|dimples|toes?|fingers?|arms?|legs?|scar|mustache|weigh|dumpy|contacts|teeth)\b.*|\bi (?:wear glasses|weigh .+)",
     ("What do you look like?", "How would you describe your looks?", "How would I recognise you on the street?"), "hair colour|hair style|stature", False),
    ("style", r"\b(?:wear|wearing|dress|dresses|clothes|clothing|fashion|outfits?|shoes|jeans|hats?|makeup|make up|jewelry|suits)\b.*", ("What do you usually put on in the morning?", "What is your style like?", "What would I find in your closet?"), "", True),
    ("belief", rf"\bi (?:am|'m|was raised|grew up)\b.*?\b(?P<v>{_any('religion')}|adventist|jehovah's witness|religious|spiritual|wiccan|believer)\b|\b(?:church|god|bible|pray|faith|jesus|religion)\b.*|\bi (?:don't |do not )?believe (?:in|that) (?P<v2>.+)",
     ("What do you believe in?", "What role does faith play in your life?", "Where do you find meaning?"), "religion", False),
    ("politics", rf"\b(?P<v>{_any('politics')}|politics|vote|feminist|activist)\b", ("Where do you stand politically?", "What are your views on society?"), "politics", False),
    ("identity", r"\bi (?:am|'m) (?:an? )?(?:\w+ )?(?P<v>gay|lesbian|bisexual|straight|transgender|male|female|man|woman|boy|girl|guy|lady|asexual)\b.*", ("How would you describe yourself?", "What can you tell me about your identity?"), "gender", False),
    ("music making", rf"\b(?:i|we) (?:\w+ )?(?:play|learn|practice|own|am learning|can play|taught myself)\b.*?\b(?P<v>{_any('instrument')}|instruments?|drums|bands?|orchestra)\b|\bi (?:am|'m|sing|play|was|have|played|used to)\b.*\b(?:bands?|choir|sing|singing|karaoke|dj|songs?|rap)\b.*",
     ("Do you make music?", "Are you musical?", "Are you into making music?"), "", False),
    ("music", rf"\b(?:{_any('music genre')}) (?:music|songs)\b|\b(?:music|concerts?|bands?|albums?|songs?|listen|listening|rapper|playlist|beatles|singers?)\b.*",
     ("What kind of tunes do you like?", "What do you listen to?", "What kind of music do you like?", "What's playing on your headphones?"), "", True),
    ("drink", rf"\bi (?:\w+ )?(?:{_LIKES}|drink|drank|need|am an?)\b.*?\b(?:{_any('drink')}|starbucks|mountain dews?|cocktails?|alcohol|pop|latte|beers|wines|kombucha|caffeine)\b.*",
     ("What do you like to drink?", "What's in your cup on a good day?", "What can I get you to drink?"), "", True),
    ("food", rf"\bi (?:\w+ ){{0,2}}(?:{_LIKES}|eat|eats|crave|could eat|snack on|ate|eating|only eat|live on)\b.*?\b(?:{_any('food', 'sweet', 'fruit or vegetable', 'cuisine')}|{_any('cuisine')} food|junk food|fast food|spicy(?: food)?|meat|vegetables|fruits?|chips|candies|sweets|healthy|barbecue|bbq|breakfast|desserts?|snacks|chinese food|hot dogs?|food|veggies|eggs|toast|honey|snickers|mcdonalds)\b.*|\bi (?:\w+ )?(?:eat|{_LIKES} (?:eating|to eat)) (?P<v2>.+)|\bi am (?:a |an )?(?:\w+ )?(?:picky eater|eater|foodie|picky)\b.*",
     ("What do you like to eat?", "What ends up on your plate most often?", "What are your eating habits?", "What kind of meals make you happy?"), "", True),
    ("collection", r"\b(?:collect|collects|collecting|collection|collector|collectible|collected)\b.*", ("Is there anything you gather or hoard?", "Do you have an unusual hobby?", "What fills your shelves at home?"), "", False),
    ("fandom", rf"\b(?:teams?|season tickets|(?:watch|watching) (?:\w+ )?(?:sports?|{_any('sport')}))\b.*|\bfan of the\b.*",
     ("Who do you cheer for?", "Is there anyone you root for?", "What do you follow closely?"), "", False),
    ("films and shows", r"\b(?:watch|watching|watched|movies?|films?|tv|television|(?<!t )(?<!not )shows?(?! up| off)|netflix|anime|cartoons?|sitcom|star wars|star trek|documentar(?:y|ies)|binge|disney(?! ?(?:world|land))|marvel|harry potter|youtube)\b.*",
     ("What do you like to look at on a screen?", "What's on your screen in the evening?", "Do you enjoy any kind of screen entertainment?"), "", True),
    ("reading", r"\b(?:read|reads|reading|books?|novels?|library|comics?|poetry|manga|literature|author|stories)\b.*", ("What do you do on a quiet evening?", "What's on your bedside table?", "How do you unwind with some peace and quiet?"), "", True),
    ("games", r"\b(?:games?|gaming|gamer|chess|poker|xbox|playstation|nintendo|minecraft|video|tabletop|dungeons|fortnite|lego|legos|puzzles?|crosswords?|casinos?|gambl\w+|cards)\b.*", ("What do you play?", "How do you entertain yourself at home?", "What do you do to kill time?"), "", True),
    ("travel", r"\b(?:travel\w*|visited|vacation\w*|trips?|abroad|been to|countries|europe|cruise|flew|fly|backpack\w*|passport|holidays? in|traveled)\b.*", ("Have you been anywhere interesting?", "Where do your journeys take you?", "Where do you go when you leave home for a while?"), "", True),
    ("sport", rf"\b(?:{_any('sport')}|football|running|run|runs|jog|swim|swims|surf|ski|skate|skateboard|snowboard|gym|work out|works out|exercise|workout|yoga|lift weights|weights|marathons?|black belt|martial arts|crossfit|athletic|sports?|team|fitness|cheerleader|wrestle|cyclist|runner|swimmer|horseback|horses|bike|bikes|hike|hiker|climb|bowl|box|teams?)\b.*",
     ("How do you stay active?", "How do you keep moving?", "What gets your heart pumping?", "Are you a physically active person?"), "", True),
    ("skill", r"\bi (?:\w+ )?(?:can|could|am able to|know how to|am (?:very |really |so |pretty )?(?:good|great|skilled|talented|excellent|amazing|an expert|the best) (?:at|in|with)|have a (?:talent|gift|knack) for|speak|learned|learnt|am fluent in|know)\b (?P<v>.+)",
     ("What are you good at?", "Do you have any special talents?", "What are your talents?"), "", True),
    ("season", rf"\b(?:{_LIKES})\b.*\b(?P<v>{_any('season', 'holiday', 'weather')}|fall|snowy|rainy|sunny|warm|cold|hot|halloween)\b.*", ("What time of the year do you enjoy most?", "When are you happiest during the year?", "What kind of days make you happy?"), "", True),
    ("hobby", rf"\b(?:i|we) (?:\w+ly |also |just |still |do |to |would )*(?:{_LIKES})\b(?: \w+ly)? (?:to )?(?P<v>(?!to\b)(?:\w+ing\b.*|(?<=to )\w+.*))|\bhobb(?:y|ies)\b.*|\bin my (?:spare|free) time\b.*|\bfor fun\b.*|\b(?:i|we) (?:\w+ )?(?:paint|draw|sing|dance|cook|bake|garden|knit|sew|hunt|fish|camp|write|sketch|craft|volunteer|meditate|photograph|shop|crochet|party|blog|quilt|act|travel|sculpt|grow)\b.*|\bi am (?:an? )?(?:avid|amateur|big|huge|great|good|hobby) .+",
     ("What do you like to do in your free time?", "What do you do for fun?", "What are your hobbies?", "How do you spend your weekends?", "What do you enjoy doing?"), "", True),
    ("likes", rf"\bi (?:\w+ ){{0,2}}(?:{_LIKES})\b (?P<v>.+)|\bi (?:am|'m) (?:a|an) (?P<v2>.+ (?:lover|fan|fanatic|person|addict|enthusiast|buff|nerd))\b",
     ("What are some things you really like?", "What are you into?", "What makes you happy?", "What do you have a soft spot for?"), "", True),
    ("sleep", r"\b(?:sleep\w*|wake|naps?|night owl|early bird|bed|morning person|bedtime|insomniac)\b.*", ("What are your nights like?", "How do you get your rest?", "How are your nights and mornings?"), "", False),
    ("friends", r"\bi (?:\w+ )?have\b.*\b(?P<v>friends)\b.*", ("What is your social life like?", "Who do you spend your time with?"), "", False),
    ("absence", r"\bi (?:\w+ )?(?:don't|do not|have never|never had|never) (?:own|have|had|been|seen|met|celebrate|use|trust|talk|speak|watch|do|go|know)\b(?: any| an?)? (?P<v>.+)|\bi have (?:no|never) (?P<v2>.+)",
     ("What is something other people have or do, but you don't?", "In what way are you different from most people?"), "", True),
    ("relative", rf"\bmy (?:\w+ )??(?P<x>{_RELATIVE})\b", ("What can you tell me about your {x}?", "Tell me something about your {x}."), "", False),
    ("possession", r"\bi (?:\w+ )?(?:own|have|bought|got|possess|inherited|keep) (?P<v>(?!(?:\w+ )?been|to\b|had\b|never\b|always\b|\w+ed\b|a hard time|trouble|difficulty|done\b|seen\b|lost\b|won\b|met\b).+)|\bmy (?:\w+ )?(?:house|home|room|phone|computer|garden|wallet|garage|backyard)\b.*",
     ("What do you have that not everybody has?", "Is there something special that you call your own?", "What can you call your own?"), "", True),
    ("past", r"\bi (?:\w+ly |also |just |even |only |never )?(?:once|was|were|had|did|used to|have (?:been|had|never|always|won|met|seen|done|lost|\w+ed)|won|lost|met|saw|grew|broke|left|wrote|made|took|gave|found|fell|became|ran|began|started|(?!(?:need|feed|bleed|succeed|breed)\b)\w+ed)\b.*|\bas a (?:child|kid)\b.*|\bgrowing up\b.*|\byears ago\b",
     ("What is something interesting from your past?", "Has anything remarkable happened in your life?", "Tell me a story from your life."), "", True),
    ("routine", r"\b(?:every|each|always|usually|often|sometimes|never|once a|twice a|daily|weekly|times a|all day|most days|weekends?|constantly|spend|tend to|at night|in the morning|mornings|nights)\b.*",
     ("What does a typical week look like for you?", "Do you have any particular habits?", "What's an ordinary day like for you?"), "", True),
    ("character", r"\b(?:i am|i'm|i consider myself|i am considered|people (?:say|think)|others|i feel|i tend|i get|i have a hard time|i have trouble|i consider)\b(?! (?:going|in the process)) ?(?P<v>.+)|\bi think i\b.*",
     ("How would you describe yourself?", "What are you like as a person?", "What would your friends say about you?"), "", True),
    ("activity", r"^i (?:\w+ly |also |still |only )?(?:play|use|make|cut|write|take|go|help|care|try|need|prefer|listen|talk|walk|bike|ride|smoke|study|train|attend|follow|practice|donate|recycle|visit|watch|race|fix|save|date|hunt|shower|wash|sit|stay|hang|do|chew|text|call|drink|eat|look|bite|pick|buy|worry|think|cry|laugh|daydream|trust|miss|support|root)\b.*",
     ("What is something you do that is typical of you?", "What's a thing you do that says a lot about you?"), "", True),
]  # fmt: skip


def _rules() -> tuple[ProbeRule, ...]:
    rules = []
    for attribute, pattern, questions, exclusive, broad in _TABLE:
        groups = tuple(group for group in exclusive.split("|") if group)
        rules.append(ProbeRule(attribute, re.compile(pattern), questions, groups, broad))
    return tuple(rules)


RULES = _rules()
