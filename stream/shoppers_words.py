"""The words of the shoppers' shop: what it sells, by category and line, and what its titles and tags are made of."""

from __future__ import annotations

LINES: dict[str, tuple[str, ...]] = {
    "camping": ("Tent", "Sleeping Bag", "Camping Stove", "Headlamp"),
    "running": ("Running Shoes", "Running Vest", "Heart Rate Belt", "Running Socks"),
    "cycling": ("Bike Helmet", "Bike Lock", "Cycling Jersey", "Bike Pump"),
    "climbing": ("Climbing Rope", "Harness", "Chalk Bag", "Carabiner Set"),
    "coffee": ("Espresso Machine", "Coffee Grinder", "French Press", "Coffee Beans"),
    "baking": ("Stand Mixer", "Baking Tin", "Rolling Pin", "Bread Flour"),
    "cookware": ("Frying Pan", "Stock Pot", "Chef Knife", "Cutting Board"),
    "garden": ("Watering Can", "Garden Shears", "Flower Seeds", "Raised Bed"),
    "audio": ("Headphones", "Bookshelf Speaker", "Turntable", "Microphone"),
    "photo": ("Camera", "Zoom Lens", "Tripod", "Camera Bag"),
    "gaming": ("Game Controller", "Gaming Headset", "Board Game", "Puzzle"),
    "office": ("Desk Lamp", "Office Chair", "Notebook", "Fountain Pen"),
    "books": ("Crime Novel", "Fantasy Novel", "Cookbook", "Travel Guide"),
    "toys": ("Building Blocks", "Toy Train", "Plush Bear", "Craft Kit"),
    "baby": ("Pushchair", "Baby Carrier", "Night Light", "Bottle Set"),
    "pets": ("Dog Leash", "Cat Tree", "Dog Bed", "Aquarium"),
}
"""Four lines in each category; items of one line are what a shopper compares with one another."""
BRANDS = (
    *("Norrvik", "Halden", "Aurelio", "Brightwater", "Kestrel", "Lumo", "Tessera", "Oakline", "Pinegrove", "Solano"),
    *("Varga", "Wildmoor", "Cobalt", "Fernway", "Juniper", "Marlow", "Quill", "Redfern", "Sablewood", "Tidewater"),
)
QUALITIES = (
    *("Classic", "Light", "Compact", "Sturdy", "Quiet", "Bright", "Soft", "Travel", "Family", "Studio", "Alpine"),
    *("Urban", "Vintage", "Everyday", "Professional", "Foldable", "Organic", "Limited", "Slim", "Warm"),
)
COLOURS = ("black", "white", "red", "blue", "green", "yellow", "grey", "brown")
