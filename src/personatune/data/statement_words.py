"""The words that tell a lasting statement about oneself from a passing one; fragments of regular expressions."""

from __future__ import annotations

PEOPLE = (
    r"mom|mother|dad|father|parents|brother|brothers|sister|sisters|siblings?|wife|husband|sons?|daughters?|kids?|"
    r"children|family|girlfriend|boyfriend|fiancee?|grandma|grandpa|grandparents|grandmother|grandfather|uncle|aunt|"
    r"cousins?|roommates?|dogs?|cats?|puppy|kittens?|pets?|twins?|nieces?|nephews?"
)
OWNED = (
    rf"{PEOPLE}|fish|birds?|parrot|horses?|chickens?|snake|hamster|rabbits?|bunny|turtle|lizard|degree|job|garden|"
    r"tattoos?|collection|guitar|piano|car|truck|motorcycle|bike|boat|farm|house|apartment|phd|masters?|minor|major|"
    r"business|company|channel|blog|podcast|allerg\w+|diabetes|asthma|adhd|anxiety|autism|freckles|hair|eyes|accent|"
    r"passion|hobby|hobbies|xbox|playstation|switch|drone|scholarship|internship|phobia|citizenship"
)
COUNTS = r"(?:a|an|one|two|three|four|five|six|seven|eight|nine|ten|\d+|no|twin|many|several|some|my own)"
LIKING = (
    r"(?:(?:love|like|enjoy|hate|prefer|adore|dislike|don't (?:like|enjoy)|can't stand)|"
    r"am (?:really |very )?(?:into|obsessed with|addicted to))"
)
DOING = (
    r"read|write|sing|dance|paint|draw|cook|bake|run|swim|hike|bike|ski|snowboard|surf|climb|garden|knit|sew|crochet|"
    r"travel|camp|fish|hunt|code|program|skateboard|skate|golf|coach|teach|tutor|volunteer|collect|speak|own|drive|ride|"
    r"train|design|build|play|watch|listen to|eat|drink|study|wear|follow"
)
STATES = (
    r"married|engaged|single|divorced|vegan|vegetarian|left[- ]handed|bilingual|introverted|extroverted|shy|colorblind|"
    r"retired|pregnant|tall|short|\d+ years old|good at|terrible at|bad at"
)
NATIONALITIES = (
    r"(?:american|canadian|mexican|chinese|korean|japanese|indian|german|italian|irish|asian|african|hispanic|latina|"
    r"latino|british|brazilian|catholic|mormon|christian|muslim|jewish|lds|atheist)\b"
)
# "I love the beach." stands alone, "I hate the director." needs the talk it was said in.
OBJECTS_AFTER_THE = (
    r"beach|ocean|sea|outdoors|mountain|rain|snow|cold|heat|sun|summer|winter|fall|spring|city|country|desert|forest|"
    r"piano|guitar|violin|cello|viola|flute|drum|ukulele|trumpet|trombone|clarinet|saxophone|sax|bass|harp|organ|"
    r"bagpipe|banjo|oboe|tuba|news|nfl|nba|lakers|jazz|gym|theater|theatre|library|temple|gospel|zoo|stars|color"
)

# What makes a statement hang on its conversation, on the day, or on the chat itself, and what no persona should say.
PASSING = frozenset(
    """
    that it its it's this those these them him her he she they he's she's they're their his itself there here one ones
    same such today tonight tomorrow yesterday just you your yours you're yourself u ur we us our let's again either
    neither guess wonder wondering sorry glad sure gonna gotta prompt chat chats chatting bot bots robot ai conversation
    conversations question questions answer talking lol haha minutes mins far thing things stuff something someone
    somebody anyone anything else bed nap asleep awake tired hungry bored sick excited late early morning afternoon
    evening week weekend last next recently later soon yet happened maybe might could should hear heard say said saying
    mean meant idk thought app bad feeling hoping trying finished started guys hi hello point what why how whatever
    anymore ago weather problem issue mood idea agree luck chance prize homework assignment assignments final finals
    test exam exams feel felt seconds hour hours nothing everything both done ready ate turn gets sit worried gosh
    goodness raffle survey topic messages typing type angry coming please impressed monday tuesday
    wednesday thursday friday saturday sunday challenge points side well okay ok fair sense words word
    option part sounds ideas
    fuck fucking shit damn ass bitch sex sexy sexual drunk porn kill suicide gender racist hitler nazi penis boobs
    naked month trump politics political
    """.split()
)
