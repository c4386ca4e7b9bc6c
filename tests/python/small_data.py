"""Two small collections of our own words, large enough that each split has a pair."""

from __future__ import annotations

from typing import Any

_TEA = {
    "green": ("Green tea", "Steep green tea for two minutes at eighty degrees."),
    "black": ("Black tea", "Black tea takes four minutes in boiling water."),
    "mate": ("Mate", "Mate is drunk from a gourd through a metal straw."),
    "chai": ("Chai", "Chai is simmered with milk, cardamom and ginger."),
    "matcha": ("Matcha", "Matcha powder is whisked into hot water with a bamboo whisk."),
    "oolong": ("Oolong", "Oolong leaves are partly oxidised and can be brewed several times."),
    "rooibos": ("Rooibos", "Rooibos has no caffeine and grows in South Africa."),
    "white": ("White tea", "White tea is made from young buds that are only dried."),
    "pot": ("Teapots", "An unglazed clay pot remembers the taste of earlier brews."),
    "water": ("Water", "Hard water makes tea cloudy; filter it first."),
    "cold": ("Cold brew", "Leave the leaves in cold water overnight in the refrigerator."),
    "storage": ("Storage", "Keep tea dry, dark and away from spices."),
}
_BIKES = {
    "chain": ("Chain", "Oil the chain every two hundred kilometres and wipe off what is left."),
    "tyre": ("Tyres", "Pump road tyres to six bar, mountain tyres to two."),
    "brake": ("Brakes", "Replace brake pads when the grooves in the rubber are gone."),
    "saddle": ("Saddle", "With the heel on the pedal, the knee should just be straight."),
    "gears": ("Gears", "Turn the barrel adjuster until the chain climbs without rattling."),
    "lights": ("Lights", "A dynamo in the hub lights the lamp without a battery."),
    "lock": ("Locks", "Lock the frame and the rear wheel to something that cannot move."),
    "helmet": ("Helmets", "A helmet sits two fingers above the eyebrows."),
    "spoke": ("Spokes", "A wheel that wobbles needs its spokes tightened in turn."),
    "bell": ("Bell", "Ring the bell before overtaking someone on foot."),
    "bags": ("Panniers", "Hang heavy panniers low on the front rack for a steady ride."),
    "fork": ("Fork", "Service a suspension fork after fifty hours of riding."),
}
_TEA_QUESTIONS = {
    "green": ("how long should green tea brew?", "temperature for green tea"),
    "black": ("how many minutes for black tea?", "boiling water and black leaves"),
    "mate": ("what is mate drunk from?", "metal straw drink"),
    "chai": ("which spices go into chai?", "tea simmered in milk"),
    "matcha": ("how do I whisk matcha?", "green powder and bamboo"),
    "oolong": ("can oolong be brewed twice?", "partly oxidised leaves"),
    "rooibos": ("which tea has no caffeine?", "tea from South Africa"),
    "white": ("what is white tea made of?", "young dried buds"),
    "pot": ("does a clay pot keep flavours?", "unglazed teapot"),
    "water": ("why is my tea cloudy?", "filtering hard water"),
    "cold": ("how do I make cold brew tea?", "tea in the refrigerator overnight"),
    "storage": ("where should I keep tea?", "tea away from spices"),
}
_BIKE_QUESTIONS = {
    "chain": ("how often do I oil a bicycle chain?", "cleaning a chain"),
    "tyre": ("what pressure for road tyres?", "pumping mountain bike tyres"),
    "brake": ("when are brake pads worn?", "grooves in the rubber of a brake"),
    "saddle": ("how high should my saddle be?", "knee straight on the pedal"),
    "gears": ("my gears rattle, what do I turn?", "barrel adjuster"),
    "lights": ("light without a battery on a bicycle", "what does a hub dynamo do?"),
    "lock": ("what part of a bicycle do I lock?", "locking frame and wheel"),
    "helmet": ("how should a helmet sit?", "fingers above the eyebrows"),
    "spoke": ("my wheel wobbles", "tightening spokes"),
    "bell": ("when do I ring the bell?", "overtaking people on foot"),
    "bags": ("where do heavy panniers go?", "steady ride with bags"),
    "fork": ("when is a suspension fork serviced?", "fifty hours of riding"),
}
NEGATIVES = [
    "hello there",
    "good morning",
    "how are you today?",
    "what is two plus three?",
    "tell me a joke",
    "thank you very much",
    "write a poem about the sea",
    "what is nine times seven?",
    "translate good night into French",
    "goodbye",
    "you are very kind",
    "say something nice",
    "rewrite this sentence politely",
    "who are you?",
    "count to ten",
    "what is half of eighty?",
    "please be brief",
    "make this shorter",
    "I am bored",
    "sing me a song",
]


def _collection(
    texts: dict[str, tuple[str, str]], questions: dict[str, tuple[str, str]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    documents = [{"id": i, "title": title, "text": text} for i, (title, text) in texts.items()]
    splits = ("train", "train", "dev", "test")
    pairs = [
        {"query": query, "id": i, "split": splits[position % 4]}
        for position, (i, queries) in enumerate(questions.items())
        for query in queries
    ]
    return documents, pairs


def collections() -> dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """(documents, pairs) by name."""
    return {
        "bicycles": _collection(_BIKES, _BIKE_QUESTIONS),
        "tea": _collection(_TEA, _TEA_QUESTIONS),
    }
