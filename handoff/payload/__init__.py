"""What a payload is: its layout and wire format, which of them a producer holds, and who reads them."""
