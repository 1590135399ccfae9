"""The stage `report`: one page and three pictures."""
