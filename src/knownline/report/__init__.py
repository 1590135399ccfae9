"""The stage `report`: one page and three plots."""
