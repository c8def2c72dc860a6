//! Out-of-band control: a Redfish client that survives real vendors.
