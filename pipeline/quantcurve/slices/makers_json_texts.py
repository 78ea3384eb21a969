"""Texts of the slice of JSON: orders, contacts, events, invoices and sensor readings, each told in several ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import JsonValue

from quantcurve.slices.makers_parts import listed

Made = tuple[str, JsonValue]
"""The text and what is to be extracted."""
FIRST = listed(
    "Amira; Bruno; Chen; Daria; Elif; Farid; Greta; Hiro; Ivana; Jonas; Kofi; Lena; Mateo; Nadia; Oscar; Priya"
)
LAST = listed(
    "Becker; Costa; Dubois; Evans; Fischer; Garcia; Hansen; Ivanov; Kowalski; Lopez; Moreau; Novak; Okafor; Rossi"
)
PRODUCTS = listed(
    "desk lamp; office chair; water bottle; notebook; backpack; keyboard; garden hose; coffee mug; wall clock"
)
CITIES = listed("Hamburg; Porto; Lyon; Kraków; Valencia; Ghent; Turin; Oslo; Graz; Leeds; Bergen; Malmö")
COMPANIES = listed("Nordwind Ltd; Blue Harbor Inc; Lindgren & Sons; Solaris GmbH; Oak Street Bakery; Vista Travel")
MEETINGS = listed("budget review; design workshop; book club; safety training; project kickoff; chess tournament")
ROOMS = listed("Room 12; the library; Hall B; the town museum; Studio 4; the main office")
MONTHS = listed("January; February; March; April; May; June; July; August; September; October; November; December")
QUANTITIES = listed("temperature; humidity; pressure; noise level; wind speed")
UNITS = listed("celsius; percent; hectopascal; decibel; metres per second")
DOMAINS = listed("example.com; example.org; example.net")
HOURS = tuple(f"{hour:02d}:{minute:02d}" for hour in range(8, 21) for minute in (0, 15, 30, 45))
CENTS = range(105, 20_000, 37)


class Form(NamedTuple):
    """A form of text with its schema."""

    name: str
    schema: dict[str, JsonValue]
    over: tuple[Sequence[Any], ...]
    """Values of each argument of `make`."""
    make: Callable[..., Made]


def _object(**properties: JsonValue) -> dict[str, JsonValue]:
    """Schema of an object with exactly these properties."""
    names: list[JsonValue] = list(properties)
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _told(ways: Sequence[str], way: int, **values: object) -> str:
    return ways[way].format(**values)


STRING: JsonValue = {"type": "string"}
INTEGER: JsonValue = {"type": "integer"}
NUMBER: JsonValue = {"type": "number"}
BOOLEAN: JsonValue = {"type": "boolean"}
DATE: JsonValue = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "description": "YYYY-MM-DD"}
TIME: JsonValue = {"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}$", "description": "HH:MM"}
WAYS = range(4)

ORDER = (
    "Order {number}: {first} {last} wants {count} times the article '{product}', to be sent to {city}.",
    "Please ship the article '{product}', quantity {count}, to {first} {last} in {city}. The order number is {number}.",
    "{first} {last} from {city} has placed order {number}. It is for {count} pieces of the article '{product}'.",
    "New in the shop: order {number}, article '{product}', {count} pieces, customer {first} {last}, city {city}.",
)
CONTACT = (
    "My name is {first} {last}, I am {age} years old and live in {city}. Write to {email}.",
    "{first} {last} ({age}) lives in {city} and can be reached at {email}.",
    "You can send mail to {email}; it belongs to {first} {last}, who is {age} years old and comes from {city}.",
    "Contact from {city}: {first} {last}, age {age}, mail address {email}.",
)
EVENT = (
    "The {title} takes place in {city} on {day} {month} {year} at {time}, in {room}. Speakers are {one} and {other}.",
    "On {day} {month} {year}, {one} and {other} are the speakers at the {title} in {city} ({room}, {time}).",
    "Save the date: {title}, {day} {month} {year}, {time}, {room}, {city}. With talks by {one} and {other}.",
    "{city} invites you to the {title}! Come to {room} at {time} on {day} {month} {year} and hear {one} and {other}.",
)
INVOICE = (
    "Invoice {number} from {company} of {day} {month} {year}: the total is {total} euros. {paid}",
    "{company} has sent invoice {number} over {total} euros, dated {day} {month} {year}. {paid}",
    "The invoice with the number {number} is dated {day} {month} {year}. {company} asks for {total} euros. {paid}",
    "{total} euros: that is the total of {company}'s invoice {number} of {day} {month} {year}. {paid}",
)
PAID = ("It has not been paid yet.", "It has already been paid.")
READING = (
    "Sensor {sensor} in {city} reports: {quantity} {value} {unit} at {time}.",
    "At {time} the sensor {sensor} ({city}) measured a {quantity} of {value} {unit}.",
    "The {quantity} in {city} was {value} {unit} at {time}, says sensor {sensor}.",
    "{city}, {time}: sensor {sensor}, {quantity}, {value} {unit}.",
)
BASKET = (
    "{first} {last} buys {count} x {product} at {price} euros each and {other_count} x {other} at {other_price} euros "
    "each.",
    "The basket of {first} {last} holds {count} x {product} for {price} euros each, and {other_count} x {other} for "
    "{other_price} euros each.",
    "Receipt for {first} {last}: {count} x {product}, {price} euros each; {other_count} x {other}, {other_price} euros "
    "each.",
    "{count} x {product} ({price} euros each), {other_count} x {other} ({other_price} euros each). Customer: {first} "
    "{last}.",
)


def _order(way: int, number: int, first: str, last: str, count: int, product: str, city: str) -> Made:
    text = _told(ORDER, way, number=number, first=first, last=last, count=count, product=product, city=city)
    customer = f"{first} {last}"
    return text, {"order": number, "customer": customer, "article": product, "quantity": count, "city": city}


def _contact(way: int, first: str, last: str, age: int, city: str, domain: str) -> Made:
    email = f"{first}.{last}@{domain}".lower()
    text = _told(CONTACT, way, first=first, last=last, age=age, city=city, email=email)
    return text, {"first_name": first, "last_name": last, "age": age, "city": city, "email": email}


def _event(
    way: int, title: str, city: str, room: str, day: int, month: int, year: int, time: str, one: str, apart: int
) -> Made:
    other = FIRST[(FIRST.index(one) + apart) % len(FIRST)]
    text = _told(
        EVENT,
        way,
        title=title,
        city=city,
        room=room,
        day=day,
        month=MONTHS[month - 1],
        year=year,
        time=time,
        one=one,
        other=other,
    )
    date = f"{year}-{month:02d}-{day:02d}"
    return text, {"title": title, "city": city, "date": date, "time": time, "speakers": [one, other]}


def _invoice(way: int, number: int, company: str, day: int, month: int, year: int, cents: int, paid: int) -> Made:
    text = _told(
        INVOICE,
        way,
        number=f"{year}/{number}",
        company=company,
        day=day,
        month=MONTHS[month - 1],
        year=year,
        total=f"{cents / 100:.2f}",
        paid=PAID[paid],
    )
    date = f"{year}-{month:02d}-{day:02d}"
    return text, {
        "number": f"{year}/{number}",
        "company": company,
        "date": date,
        "total": cents / 100,
        "paid": paid == 1,
    }


def _reading(way: int, letter: str, number: int, city: str, quantity: int, tenths: int, time: str) -> Made:
    sensor, name, unit = f"{letter}-{number}", QUANTITIES[quantity], UNITS[quantity]
    value = f"{tenths / 10:.1f}"
    text = _told(READING, way, sensor=sensor, city=city, quantity=name, value=value, unit=unit, time=time)
    found: dict[str, JsonValue] = {"sensor": sensor, "quantity": name, "value": tenths / 10, "unit": unit, "time": time}
    return text, {"place": city, "reading": found}


def _basket(
    way: int, first: str, last: str, product: str, apart: int, count: int, cents: int, other_count: int, more: int
) -> Made:
    other, other_cents = PRODUCTS[(PRODUCTS.index(product) + apart) % len(PRODUCTS)], cents + more
    text = _told(
        BASKET,
        way,
        first=first,
        last=last,
        product=product,
        other=other,
        count=count,
        other_count=other_count,
        price=f"{cents / 100:.2f}",
        other_price=f"{other_cents / 100:.2f}",
    )
    lines: JsonValue = [
        {"article": product, "quantity": count, "price": cents / 100},
        {"article": other, "quantity": other_count, "price": other_cents / 100},
    ]
    return text, {"customer": f"{first} {last}", "lines": lines}


FORMS = (
    Form(
        "orders",
        _object(order=INTEGER, customer=STRING, article=STRING, quantity=INTEGER, city=STRING),
        (WAYS, range(1000, 9999, 7), FIRST, LAST, range(2, 40), PRODUCTS, CITIES),
        _order,
    ),
    Form(
        "contacts",
        _object(first_name=STRING, last_name=STRING, age=INTEGER, city=STRING, email=STRING),
        (WAYS, FIRST, LAST, range(18, 80), CITIES, DOMAINS),
        _contact,
    ),
    Form(
        "events",
        _object(title=STRING, city=STRING, date=DATE, time=TIME, speakers={"type": "array", "items": STRING}),
        (WAYS, MEETINGS, CITIES, ROOMS, range(1, 29), range(1, 13), range(2021, 2030), HOURS, FIRST, range(1, 16)),
        _event,
    ),
    Form(
        "invoices",
        _object(number=STRING, company=STRING, date=DATE, total=NUMBER, paid=BOOLEAN),
        (WAYS, range(101, 999), COMPANIES, range(1, 29), range(1, 13), range(2021, 2030), CENTS, range(2)),
        _invoice,
    ),
    Form(
        "readings",
        _object(place=STRING, reading=_object(sensor=STRING, quantity=STRING, value=NUMBER, unit=STRING, time=TIME)),
        (WAYS, "ABCDEFGH", range(10, 99), CITIES, range(len(UNITS)), range(11, 990, 3), HOURS),
        _reading,
    ),
    Form(
        "baskets",
        _object(
            customer=STRING,
            lines={"type": "array", "items": _object(article=STRING, quantity=INTEGER, price=NUMBER)},
        ),
        (WAYS, FIRST, LAST, PRODUCTS, range(1, 9), range(2, 10), range(105, 5000, 45), range(2, 10), range(5, 900, 45)),
        _basket,
    ),
)
