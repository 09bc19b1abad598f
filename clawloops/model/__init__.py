"""Pure data: frozen records and enumerations that every floor may use. No I/O, no clock."""
