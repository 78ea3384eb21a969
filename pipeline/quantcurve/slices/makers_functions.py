"""Functions of the slice of tools, with requests that each of them serves and no other one does.

A request names every value as the call has to have it. Where a parameter may be left out and the request says nothing
about it, its default is right too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import JsonValue

from quantcurve.slices.items import ExpectedCall
from quantcurve.slices.makers_parts import listed
from quantcurve.slices.makers_places import CITY_NAMES

PEOPLE = listed("Anna; Bruno; Clara; Daniel; Eva; Frank; Gina; Henry; Irene; Jakob; Laura; Martin")
TITLES = listed("Team meeting; Dentist; Piano lesson; Lunch with Eva; Yoga class; Parents' evening; Car inspection")
TEXTS = listed("I will be late; See you tomorrow; Happy birthday; The parcel has arrived; Please call me back")
SONGS = listed("Yesterday; Bolero; Summertime; Imagine; La Mer; Clair de Lune; Hallelujah; Waterloo")
DISHES = listed("pizza; lasagne; ramen; falafel; paella; goulash; sushi; lentil soup")
ROOMS = listed("kitchen; bedroom; bathroom; hallway; office; living room")
WORDS = listed("bread; window; teacher; river; friend; morning; butterfly; library; holiday; question")
LANGUAGES = listed("German; French; Spanish; Italian; Polish; Turkish; Japanese")
CURRENCIES = listed("USD; EUR; GBP; JPY; CHF; SEK; PLN")
STOCKS = listed("SAP; IBM; NVDA; AAPL; TSLA; INTC; AMD")
TEAMS = listed("Ajax; Arsenal; Benfica; Celtic; Juventus; Real Madrid; Bayern Munich")
PLANTS = listed("ficus; basil; orchid; cactus; tomato plant; lemon tree")
DATES = tuple(f"2026-{month:02d}-{day:02d}" for month in range(1, 13) for day in (2, 5, 9, 14, 17, 21, 26))
TIMES = tuple(f"{hour:02d}:{minute:02d}" for hour in range(6, 23) for minute in (0, 15, 30, 45))
Values = dict[str, tuple[JsonValue, ...]]
"""What each argument of a call may be."""


class Function(NamedTuple):
    """A function that a request may call for."""

    name: str
    says: str
    properties: dict[str, JsonValue]
    """JSON Schema of each parameter."""
    required: tuple[str, ...]
    requests: tuple[str, ...]
    """Ways to ask, with {0}, {1} and so on for the values."""
    over: tuple[Sequence[Any], ...]
    """Values of each of these."""
    values: Callable[..., Values]

    def described(self) -> dict[str, JsonValue]:
        """As OpenAI's API has it."""
        required: list[JsonValue] = list(self.required)
        parameters: dict[str, JsonValue] = {"type": "object", "properties": self.properties, "required": required}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.says, "parameters": parameters},
        }

    def call(self, values: Sequence[Any]) -> ExpectedCall:
        """The right call for a request with these values."""
        return ExpectedCall(name=self.name, arguments=self.values(*values))


def _text(says: str) -> JsonValue:
    return {"type": "string", "description": says}


def _whole(says: str) -> JsonValue:
    return {"type": "integer", "description": says}


def _one_of(says: str, *values: str) -> JsonValue:
    return {"type": "string", "description": says, "enum": list[JsonValue](values)}


def _alike(*names: str) -> Callable[..., Values]:
    """Each value is the argument of the name at its place."""
    return lambda *values: {name: (value,) for name, value in zip(names, values, strict=True)}


def _weather(city: str, unit: str) -> Values:
    return {"city": (city,), "unit": (unit,)}


def _event(title: str, date: str, time: str) -> Values:
    return {"title": (title,), "date": (date,), "time": (time,), "duration_minutes": (60, "")}


def _song(title: str) -> Values:
    return {"title": (title,), "shuffle": (False, "")}


def _hotel(city: str, date: str, nights: int) -> Values:
    return {"city": (city,), "check_in": (date,), "nights": (nights,), "guests": (2, "")}


FUNCTIONS = (
    Function(
        "get_weather",
        "Get the current weather in a city.",
        {"city": _text("Name of the city"), "unit": _one_of("Unit of the temperature", "celsius", "fahrenheit")},
        ("city", "unit"),
        ("What is the weather like in {0} right now? In {1}, please.", "Tell me the weather in {0} in degrees {1}."),
        (CITY_NAMES, ("celsius", "fahrenheit")),
        _weather,
    ),
    Function(
        "create_event",
        "Add an event to the calendar.",
        {
            "title": _text("Title of the event"),
            "date": _text("YYYY-MM-DD"),
            "time": _text("HH:MM"),
            "duration_minutes": {"type": "integer", "description": "Length of the event", "default": 60},
        },
        ("title", "date", "time"),
        ("Put '{0}' into my calendar on {1} at {2}.", "Add a calendar event titled '{0}' for {1}, {2}."),
        (TITLES, DATES, TIMES),
        _event,
    ),
    Function(
        "send_message",
        "Send a text message to a contact.",
        {"recipient": _text("Name of the contact"), "text": _text("Text of the message")},
        ("recipient", "text"),
        ("Send {0} the message '{1}'.", "Text '{1}' to {0}."),
        (PEOPLE, TEXTS),
        _alike("recipient", "text"),
    ),
    Function(
        "set_alarm",
        "Set an alarm clock.",
        {"time": _text("HH:MM")},
        ("time",),
        ("Wake me up at {0}.", "Set an alarm for {0}."),
        (TIMES,),
        _alike("time"),
    ),
    Function(
        "start_timer",
        "Start a countdown.",
        {"minutes": _whole("Length of the countdown")},
        ("minutes",),
        ("Start a timer of {0} minutes.", "Count down {0} minutes for me."),
        (range(2, 91),),
        _alike("minutes"),
    ),
    Function(
        "play_song",
        "Play a song.",
        {
            "title": _text("Title of the song"),
            "shuffle": {"type": "boolean", "description": "Whether to go on with random songs", "default": False},
        },
        ("title",),
        ("Play the song '{0}'.", "I would like to hear '{0}'."),
        (SONGS,),
        _song,
    ),
    Function(
        "order_food",
        "Order food for delivery.",
        {"dish": _text("Name of the dish"), "portions": _whole("How many portions")},
        ("dish", "portions"),
        ("Order {1} portions of {0} for me.", "I want {1} portions of {0} delivered."),
        (DISHES, range(2, 10)),
        _alike("dish", "portions"),
    ),
    Function(
        "switch_light",
        "Switch the light of a room on or off.",
        {"room": _text("Name of the room"), "state": _one_of("What to switch it to", "on", "off")},
        ("room", "state"),
        ("Turn {1} the light in the {0}.", "Switch the {0} light {1}."),
        (ROOMS, ("on", "off")),
        _alike("room", "state"),
    ),
    Function(
        "set_temperature",
        "Set the heating of a room.",
        {"room": _text("Name of the room"), "degrees_celsius": _whole("Wanted temperature")},
        ("room", "degrees_celsius"),
        ("Heat the {0} to {1} degrees.", "Set the heating in the {0} to {1} degrees celsius."),
        (ROOMS, range(16, 26)),
        _alike("room", "degrees_celsius"),
    ),
    Function(
        "translate_word",
        "Translate an English word.",
        {"word": _text("English word"), "language": _text("Target language, such as 'Dutch'")},
        ("word", "language"),
        ("Translate the word '{0}' into {1}.", "What does one say for '{0}' in {1}?"),
        (WORDS, LANGUAGES),
        _alike("word", "language"),
    ),
    Function(
        "convert_currency",
        "Convert an amount of money at today's exchange rate.",
        {
            "amount": _whole("Amount of money"),
            "from_currency": _text("Three-letter code"),
            "to_currency": _text("Three-letter code"),
        },
        ("amount", "from_currency", "to_currency"),
        ("Convert {0} {1} to {2}.", "How much is {0} {1} in {2} today?"),
        (range(15, 500, 5), CURRENCIES[:4], CURRENCIES[4:]),
        _alike("amount", "from_currency", "to_currency"),
    ),
    Function(
        "get_stock_price",
        "Get the current price of a share.",
        {"symbol": _text("Ticker symbol")},
        ("symbol",),
        ("What does a share with the symbol {0} cost right now?", "Look up the share price of {0}."),
        (STOCKS,),
        _alike("symbol"),
    ),
    Function(
        "find_trains",
        "Find train connections between two cities on a day.",
        {"origin": _text("City"), "destination": _text("City"), "date": _text("YYYY-MM-DD")},
        ("origin", "destination", "date"),
        ("Which trains go from {0} to {1} on {2}?", "I need a train from {0} to {1} on {2}."),
        (CITY_NAMES[:6], CITY_NAMES[6:], DATES),
        _alike("origin", "destination", "date"),
    ),
    Function(
        "book_hotel",
        "Book a room in a hotel.",
        {
            "city": _text("Name of the city"),
            "check_in": _text("Day of arrival, YYYY-MM-DD"),
            "nights": _whole("How many nights"),
            "guests": {"type": "integer", "description": "How many guests", "default": 2},
        },
        ("city", "check_in", "nights"),
        ("Book me a hotel in {0} from {1} for {2} nights.", "I need a hotel room in {0}: {2} nights, arriving {1}."),
        (CITY_NAMES, DATES, range(2, 9)),
        _hotel,
    ),
    Function(
        "get_match_result",
        "Get the result of a football team's last match.",
        {"team": _text("Name of the team")},
        ("team",),
        ("How did {0} play in their last match?", "What was the result of {0}'s last match?"),
        (TEAMS,),
        _alike("team"),
    ),
    Function(
        "water_plant",
        "Water a plant automatically.",
        {"plant": _text("Name of the plant"), "millilitres": _whole("Amount of water")},
        ("plant", "millilitres"),
        ("Give the {0} {1} millilitres of water.", "Water the {0} with {1} ml."),
        (PLANTS, range(50, 500, 25)),
        _alike("plant", "millilitres"),
    ),
    Function(
        "call_contact",
        "Start a phone call.",
        {"name": _text("Name of the contact")},
        ("name",),
        ("Call {0} on the phone.", "Ring {0} for me, please."),
        (PEOPLE,),
        _alike("name"),
    ),
    Function(
        "track_parcel",
        "Find out where a parcel is.",
        {"number": _text("Tracking number")},
        ("number",),
        ("Where is my parcel {0}?", "Track the parcel with the number {0}."),
        (tuple(f"PX{number}" for number in range(10_007, 99_999, 97)),),
        _alike("number"),
    ),
    Function(
        "charge_car",
        "Charge the electric car up to a level.",
        {"percent": _whole("Level at which to stop")},
        ("percent",),
        ("Charge my car to {0} percent.", "Load the battery of the car up to {0} percent."),
        (range(30, 101),),
        _alike("percent"),
    ),
    Function(
        "vacuum_room",
        "Send the cleaning robot to a room.",
        {"room": _text("Name of the room"), "mode": _one_of("How to clean", "quiet", "normal", "strong")},
        ("room", "mode"),
        ("Let the robot clean the {0} in {1} mode.", "Vacuum the {0}, mode {1}."),
        (ROOMS, ("quiet", "normal", "strong")),
        _alike("room", "mode"),
    ),
)
