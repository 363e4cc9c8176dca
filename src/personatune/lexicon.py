"""Groups of values that a persona attribute can take: pets, jobs, colours, places, numbers as words and many more.

Two values of one group stand in each other's place: "I have a dog" turns false when "cat" takes the place of "dog".
Contradictions in preference data and the contradicting answers of probes come from here. Whether two values also
exclude each other (one has one home town, but many hobbies) depends on the sentence, so the caller decides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from personatune.words import stem, words

# A value that fits several groups belongs to the first one that lists it. Two-word values carry an underscore.
_GROUPS: dict[str, str] = {
    "colour": """
        red blue green yellow purple pink black white brown grey teal turquoise maroon violet lavender beige silver
        gold magenta crimson""",
    "pet": """
        dog cat hamster rabbit parrot goldfish fish turtle snake lizard iguana ferret horse guinea_pig bird gerbil
        chicken pig cow goat rat mouse spider gecko tarantula pony chinchilla canary""",
    "dog breed": """
        poodle beagle labrador bulldog chihuahua dachshund corgi husky rottweiler boxer pug terrier collie
        german_shepherd golden_retriever great_dane""",
    "wild animal": """
        lion tiger elephant giraffe zebra wolf bear panda dolphin whale shark penguin monkey gorilla owl eagle fox
        deer kangaroo koala unicorn dragon dinosaur butterfly crocodile flamingo""",
    "job": """
        teacher nurse doctor lawyer chef cook engineer accountant programmer mechanic carpenter plumber electrician
        dentist veterinarian pilot firefighter farmer librarian cashier waitress waiter bartender barista secretary
        receptionist journalist writer author editor photographer painter artist sculptor designer architect actor
        actress musician singer drummer dancer model comedian scientist biologist chemist physicist professor tutor
        psychologist therapist pharmacist surgeon paramedic salesman saleswoman manager banker realtor janitor
        babysitter nanny hairdresser barber tailor baker butcher florist gardener fisherman sailor soldier trucker
        judge detective translator banker politician astronaut magician clown stuntman lifeguard
        mailman housekeeper welder economist historian blogger athlete bookkeeper truck_driver taxi_driver
        bus_driver flight_attendant police_officer social_worker personal_trainer""",
    "workplace": """
        hospital school office restaurant bakery bank library factory supermarket hotel farm museum zoo daycare
        warehouse university bookstore pharmacy salon casino mall gas_station coffee_shop grocery_store pet_store
        law_firm""",
    "profession field": """
        marketing finance advertising insurance retail construction accounting healthcare journalism banking law
        medicine engineering education""",
    "school subject": """
        math mathematics biology chemistry physics history geography economics psychology philosophy literature
        sociology nursing architecture astronomy linguistics anthropology business computer_science political_science
        """,
    "school level": "kindergarten elementary_school middle_school high_school college graduate_school preschool",
    "instrument": """
        guitar piano violin drum flute saxophone trumpet cello harp clarinet ukulele banjo bass trombone harmonica
        keyboard accordion viola""",
    "music genre": """
        rock jazz country rap classical pop metal punk blues reggae techno folk opera gospel indie disco hip_hop
        heavy_metal""",
    "sport": """
        football basketball baseball soccer tennis hockey golf volleyball swimming running cycling boxing karate
        wrestling skiing snowboarding surfing skating gymnastics rugby cricket bowling archery lacrosse badminton
        fencing rowing judo softball skateboarding jogging""",
    "hobby": """
        reading cooking knitting gardening painting drawing hiking fishing hunting camping dancing singing baking
        sewing writing photography pottery yoga chess crocheting quilting birdwatching woodworking shopping gaming
        scrapbooking climbing kayaking biking sailing origami poker puzzles crosswords gossiping""",
    "food": """
        pizza pasta sushi steak burger hamburger cheeseburger taco burrito salad soup sandwich spaghetti lasagna
        bacon shrimp lobster crab salmon tuna turkey beef pork ham seafood rice noodles bread cheese egg tofu
        hotdog fries pancakes waffles curry ramen cereal oatmeal meatloaf meatballs ribs macaroni peanut_butter""",
    "sweet": """
        chocolate ice_cream cake cookie candy pie donut cupcake brownie pudding cheesecake popcorn jello fudge
        pastry marshmallow""",
    "ice cream flavour": "vanilla pistachio caramel mint hazelnut",
    "fruit or vegetable": """
        apple banana strawberry orange grape watermelon mango pineapple peach pear cherry blueberry lemon avocado
        tomato potato carrot broccoli spinach mushroom onion cucumber kale asparagus cauliflower corn cabbage celery
        lettuce pepper kiwi coconut raspberry""",
    "allergen": "peanut nut milk gluten dairy shellfish pollen soy wheat penicillin",
    "drink": """
        coffee tea beer wine soda juice water whiskey vodka lemonade milkshake coke pepsi champagne rum tequila
        cocoa smoothie espresso gin""",
    "cuisine": "italian mexican chinese thai japanese indian french greek korean vietnamese spanish",
    "nationality": """
        american canadian british irish german russian swedish polish australian brazilian african nigerian egyptian
        turkish scottish dutch norwegian portuguese filipino""",
    "diet": "vegan vegetarian pescatarian carnivore kosher",
    "country": """
        america england canada mexico france germany italy spain japan china india australia brazil ireland scotland
        russia poland sweden norway denmark finland greece egypt nigeria kenya korea thailand vietnam philippines
        portugal austria switzerland netherlands belgium argentina chile cuba jamaica iceland israel pakistan peru
        hungary ukraine colombia""",
    "us state": """
        california texas florida ohio michigan georgia alabama alaska arizona arkansas colorado connecticut delaware
        hawaii idaho illinois indiana iowa kansas kentucky louisiana maine maryland massachusetts minnesota
        mississippi missouri montana nebraska nevada oklahoma oregon pennsylvania tennessee utah vermont virginia
        wisconsin wyoming new_york new_jersey new_mexico north_carolina south_carolina north_dakota south_dakota
        rhode_island new_hampshire west_virginia""",
    "city": """
        london paris chicago boston seattle portland denver dallas houston austin miami atlanta detroit philadelphia
        baltimore nashville orlando phoenix cleveland pittsburgh toronto vancouver montreal berlin rome madrid tokyo
        sydney moscow dublin vienna amsterdam beijing honolulu hollywood los_angeles san_francisco san_diego las_vegas
        new_orleans salt_lake""",
    "dwelling": """
        house apartment condo trailer mansion cabin cottage castle dorm houseboat tent basement studio penthouse
        duplex""",
    "landscape": "beach mountains forest desert lake river ocean island park",
    "settlement": "city countryside suburbs town village",
    "language": """
        english mandarin arabic hebrew latin hindi cantonese swahili""",
    "season": "summer winter spring autumn",
    "month": "january february april june july august september october november december",
    "weekday": "monday tuesday wednesday thursday friday saturday sunday",
    "holiday": "christmas halloween thanksgiving easter hanukkah birthday",
    "weather": "rain snow sunshine storm fog",
    "sibling": "brother sister",
    "child": "son daughter",
    "parent": "mother father",
    "elder": "grandmother grandfather aunt uncle",
    "family": "cousin nephew niece grandson granddaughter stepmother stepfather",
    "partner": "husband wife boyfriend girlfriend fiance fiancee",
    "marital status": "married single divorced widowed engaged",
    "gender": "man woman male female boy girl",
    "birth order": "oldest youngest middle",
    "vehicle": "car truck motorcycle bicycle bike van suv minivan boat scooter jeep bus convertible airplane",
    "car make": """
        toyota honda ford chevrolet bmw mercedes tesla nissan volvo audi subaru mazda jaguar porsche ferrari
        lamborghini kia hyundai mustang camry corvette lexus volkswagen dodge buick cadillac prius""",
    "religion": """
        christian catholic muslim jewish buddhist hindu atheist mormon baptist lutheran methodist protestant agnostic
        pagan""",
    "politics": "republican democrat liberal conservative libertarian socialist",
    "hair colour": "blonde brunette redhead bald",
    "hair style": "curly straight wavy",
    "stature": "tall short",
    "build": "skinny fat slim chubby overweight",
    "fortune": "rich poor wealthy broke",
    "temper": "shy outgoing introvert extrovert quiet loud",
    "mood": "happy sad lonely angry",
    "pastime medium": "movie book television podcast music anime",
    "film genre": "horror comedy romance thriller documentary action fantasy drama mystery",
    "toy or collection": "stamp coin doll comics postcard teapot figurine record",
    "garment": "shoes dress jeans hat boots shirt skirt suit jacket sweater sneakers sandals",
    "ailment": """
        asthma diabetes anxiety depression insomnia migraine arthritis cancer autism epilepsy adhd""",
    "fear": "heights clowns darkness needles thunder ghosts spiders snakes",
    "time of day": "morning night evening afternoon",
    "number": """
        one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
        eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand""",
}

ANTONYM_ATTITUDES: dict[str, str] = {
    "like": "dislike",
    "love": "hate",
    "enjoy": "can't stand",
    "adore": "despise",
    "prefer": "avoid",
    "hate": "love",
    "dislike": "like",
    "despise": "adore",
    "loathe": "love",
    "can't stand": "enjoy",
    "cannot stand": "enjoy",
    "detest": "love",
}
"""An attitude verb (base form) to one that turns the sentence round: "I love fish" and "I hate fish"."""

NUMBER_DIGITS: dict[str, str] = {
    **{word: str(value) for value, word in enumerate(("zero", *_GROUPS["number"].split()[:20]))},
    **{word: str(20 + 10 * step) for step, word in enumerate(_GROUPS["number"].split()[19:27])},
    "hundred": "100",
    "thousand": "1000",
}
"""Number words to digits ("two" to "2"), zero to twenty, the tens, hundred and thousand."""


# Words for the same thing (or the one within the other): they never stand against each other.
_SYNONYMS = """
    mother mom mommy mum mama
    father dad daddy papa
    grandmother grandma granny nana
    grandfather grandpa
    child kid son daughter baby children
    brother sibling
    sister sibling
    parent mother father mom dad
    husband spouse
    wife spouse
    television tv telly
    movie film cinema
    doctor physician
    lawyer attorney
    chef cook
    author writer novelist
    actor actress acting
    waiter waitress server
    teacher teaching teach
    mailman postman
    salesman saleswoman sales
    programmer coder coding programming developer
    police_officer cop policeman
    trucker truck_driver
    singer musician
    drummer musician
    psychologist therapist
    dog puppy pup doggy
    cat kitten kitty feline
    rabbit bunny
    fish goldfish
    bird parrot canary
    pony horse
    mouse mice
    car automobile vehicle
    bicycle bike cycling biking
    truck pickup
    airplane plane
    house home
    apartment flat
    beach ocean sea
    mountains hills
    city downtown
    autumn fall
    grey gray
    hamburger burger cheeseburger
    spaghetti pasta noodles
    soda coke pepsi pop
    math mathematics maths
    college university
    jogging running
    rap hip_hop
    metal heavy_metal
    rich wealthy
    poor broke
    fat chubby overweight
    skinny slim thin
    shy introvert quiet
    outgoing extrovert
    man male guy boy
    woman female lady girl
    engaged fiance fiancee
    reading books
    writing author
    photography photographer photos
    cooking cook
    painting painter
    dancing dancer
    singing singer
    gaming games
    america usa american
    england uk britain british english
    japan japanese
    china chinese
    france french
    germany german
    italy italian
    spain spanish
    mexico mexican
    canada canadian
    india indian
    ireland irish
    russia russian
    jewish judaism
    muslim islam
    """


def _key(value: str) -> str:
    return " ".join(stem(word) for word in words(value.replace("_", " ")))


def _index(key: Callable[[str], str]) -> dict[str, str]:
    index: dict[str, str] = {}
    for group, values in _GROUPS.items():
        for value in values.split():
            index.setdefault(key(value), group)
    return index


def _index_synonyms() -> dict[str, tuple[str, ...]]:
    index: dict[str, tuple[str, ...]] = {}
    for line in _SYNONYMS.strip().splitlines():
        head, *others = (value.replace("_", " ") for value in line.split())
        index[_key(head)] = tuple(dict.fromkeys((*index.get(_key(head), ()), *others)))
        for other in others:
            index[_key(other)] = tuple(dict.fromkeys((*index.get(_key(other), ()), head)))
    return index


_GROUP_OF_FORM = _index(lambda value: value.replace("_", " "))  # keeps "biology" apart from "biologist"
_GROUP_OF_STEM = _index(_key)
_SYNONYMS_OF = _index_synonyms()


def group_of(word: str) -> str | None:
    """Return the group of a value of one or two words, in any inflection ("dogs": "pet"), or None."""
    return _GROUP_OF_FORM.get(word.lower()) or _GROUP_OF_STEM.get(_key(word))


def synonyms(word: str) -> tuple[str, ...]:
    """Return other words for the value, or for a case of it ("mother": mom; "child": son); () for none."""
    return _SYNONYMS_OF.get(_key(word), ())


@lru_cache(maxsize=4096)
def siblings(word: str) -> tuple[str, ...]:
    """Return the values that can stand in the word's place and mean another thing, in the order of the list.

    Citation form ("dogs" has "cat" among its siblings); synonyms are left out; () when the word is in no group.
    """
    group = group_of(word)
    if group is None:
        return ()
    same = {_key(word), *map(_key, synonyms(word))}
    return tuple(value for value in group_values(group) if _key(value) not in same)


@lru_cache(maxsize=256)
def group_values(group: str) -> tuple[str, ...]:
    """Return the values of one group in citation form."""
    return tuple(value.replace("_", " ") for value in dict.fromkeys(_GROUPS[group].split()))


def groups() -> tuple[str, ...]:
    """Return the names of all groups."""
    return tuple(_GROUPS)
