"""The stress of lives: random clients and upstreams around a forwarder, and an oracle of every byte."""
