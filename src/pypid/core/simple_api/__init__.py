"""The Simple API: parsing and rendering of its pages, and content negotiation."""
