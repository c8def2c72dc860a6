//! The table of what vendors do differently: one row each, nothing elsewhere.
//!
//! What a BMC says of itself (allowable values, actions, links) is believed
//! before this table is; a row is for what it does not say.

use serde_json::Value;

/// Whose BMC it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    Dell,
    Hpe,
    Lenovo,
    Supermicro,
    /// Everybody else, and the standard.
    Other,
}

/// Where a PCI address hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PciAddress {
    /// Nowhere: the BMC's own id stands in.
    Unknown,
    /// The function's id is `bus-device-function`, decimal.
    IdDecimal,
    /// The function's name ends in `bus:device:function`, hexadecimal.
    NameHex,
}

/// One vendor's row.
#[derive(Debug)]
pub(crate) struct Quirks {
    vendor: Vendor,
    /// Words by which it is known, in lower case.
    known_by: &'static [&'static str],
    /// `SerialNumber` is the board's; the serial on the label and in SMBIOS is the `SKU`.
    pub serial_is_sku: bool,
    /// Boot targets that mean the virtual CD, best first.
    pub virtual_cd: &'static [&'static str],
    /// Beginnings of ids of the virtual media slots that take a URL; empty: all do.
    pub url_slots: &'static [&'static str],
    /// PCI ids are decimal numbers.
    pub decimal_pci: bool,
    /// Where a PCI address hides.
    pub pci_address: PciAddress,
    /// Accounts are slots that are there for good: one is deleted by taking its name.
    pub account_slots: bool,
    /// Beginnings and endings of ids of firmware that is listed but does not run.
    pub idle_firmware: &'static [&'static str],
    /// Drives behind its RAID controllers are listed apart, at this path below the system.
    pub more_drives: Option<&'static str>,
    /// The standard's `Cd` may mean a physical drive: attributes of the manager
    /// that say the virtual one, for the next boot.
    pub virtual_cd_attributes: &'static [(&'static str, &'static str)],
    /// Where a manager lists the resources that have such attributes.
    pub manager_attributes: &'static str,
    /// What is entered at its command line, after signing in by SSH, to get to the
    /// machine's serial console; empty where signing in is enough.
    pub console_command: &'static str,
    /// How people leave it.
    pub console_leave: &'static str,
    /// What it says, in lower case, where somebody else has the console.
    pub console_busy: &'static [&'static str],
}

const STANDARD: Quirks = Quirks {
    vendor: Vendor::Other,
    known_by: &[],
    serial_is_sku: false,
    virtual_cd: &["Cd", "UsbCd", "Usb"],
    url_slots: &[],
    decimal_pci: false,
    pci_address: PciAddress::Unknown,
    account_slots: false,
    idle_firmware: &[],
    more_drives: None,
    virtual_cd_attributes: &[],
    manager_attributes: "",
    console_command: "",
    console_leave: "",
    console_busy: &["console is in use", "already in use", "already active"],
};

const TABLE: [Quirks; 5] = [
    // iDRAC 9, recorded from a PowerEdge R750.
    Quirks {
        vendor: Vendor::Dell,
        known_by: &["dell"],
        serial_is_sku: true,
        pci_address: PciAddress::IdDecimal,
        account_slots: true,
        idle_firmware: &["Previous-", "Available-"],
        manager_attributes: "/Links/Oem/Dell/DellAttributes",
        virtual_cd_attributes: &[
            ("ServerBoot.1.BootOnce", "Enabled"),
            ("ServerBoot.1.FirstBootDevice", "VCD-DVD"),
        ],
        console_command: "console com2",
        console_leave: "Ctrl-\\",
        ..STANDARD
    },
    // iLO 5, recorded from a ProLiant DL385 Gen10 Plus v2.
    Quirks {
        vendor: Vendor::Hpe,
        known_by: &["hpe", "hewlett"],
        decimal_pci: true,
        more_drives: Some("SmartStorage"),
        console_command: "vsp",
        console_leave: "Esc (",
        console_busy: &["virtual serial port is currently in use"],
        ..STANDARD
    },
    // XClarity, recorded from a ThinkSystem SR670 V2.
    Quirks {
        vendor: Vendor::Lenovo,
        known_by: &["lenovo"],
        url_slots: &["EXT"],
        pci_address: PciAddress::NameHex,
        idle_firmware: &["-Pending", "-Backup"],
        console_command: "console 1",
        console_leave: "Esc (",
        ..STANDARD
    },
    // From its documentation and from others' clients: the virtual CD is a USB CD.
    Quirks {
        vendor: Vendor::Supermicro,
        known_by: &["supermicro", "super micro"],
        virtual_cd: &["UsbCd", "Cd", "Usb"],
        console_command: "start /system1/sol1",
        console_leave: "Enter, Esc, T",
        ..STANDARD
    },
    STANDARD,
];

impl Vendor {
    /// Recognises the vendor from the service root, or from the system's manufacturer.
    pub fn of(root: &Value, manufacturer: Option<&str>) -> Self {
        let mut names: Vec<String> = ["/Vendor", "/Product", "/Name"]
            .iter()
            .filter_map(|p| crate::value::at(root, p)?.as_str())
            .map(str::to_lowercase)
            .collect();
        if let Some(oem) = root.get("Oem").and_then(Value::as_object) {
            names.extend(oem.keys().map(|k| k.to_lowercase()));
        }
        names.extend(manufacturer.map(str::to_lowercase));
        TABLE
            .iter()
            .find(|row| {
                row.known_by
                    .iter()
                    .any(|word| names.iter().any(|name| name.contains(word)))
            })
            .map_or(Self::Other, |row| row.vendor)
    }

    /// Its row.
    pub fn quirks(self) -> &'static Quirks {
        TABLE
            .iter()
            .find(|row| row.vendor == self)
            .unwrap_or(&STANDARD)
    }
}

impl Quirks {
    /// Whether an entry of the firmware inventory is one that does not run.
    pub fn firmware_is_idle(&self, id: &str) -> bool {
        self.idle_firmware
            .iter()
            .any(|mark| match mark.strip_prefix('-') {
                Some(_) => id.ends_with(mark),
                None => id.starts_with(mark),
            })
    }

    /// A PCI vendor, device or subsystem number as four hex digits.
    pub fn pci_id(&self, raw: &str) -> Option<String> {
        let raw = raw.trim();
        let number = match raw.strip_prefix("0x").or_else(|| raw.strip_prefix("0X")) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None if self.decimal_pci => raw.parse().ok()?,
            None => u32::from_str_radix(raw, 16).ok()?,
        };
        Some(format!("{:04x}", number & 0xffff))
    }

    /// A class code as six hex digits. Some give only the base class: `3` means `030000`.
    pub fn pci_class(&self, raw: &str) -> Option<String> {
        let raw = raw.trim();
        let number = match raw.strip_prefix("0x").or_else(|| raw.strip_prefix("0X")) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None if self.decimal_pci => raw.parse().ok()?,
            None => u32::from_str_radix(raw, 16).ok()?,
        };
        let number = if number <= 0xff { number << 16 } else { number };
        Some(format!("{:06x}", number & 0xff_ffff))
    }

    /// A PCI address (`0000:17:00.0`) from a function's id and name.
    pub fn pci_address(&self, id: &str, name: &str) -> Option<String> {
        let (text, separator, radix) = match self.pci_address {
            PciAddress::Unknown => return None,
            PciAddress::IdDecimal => (id, '-', 10),
            PciAddress::NameHex => (name.split_whitespace().last()?, ':', 16),
        };
        let parts: Vec<u32> = text
            .split(separator)
            .map(|p| u32::from_str_radix(p, radix).ok())
            .collect::<Option<_>>()?;
        match parts[..] {
            [bus @ ..=0xff, device @ ..=0x1f, function @ ..=7] => {
                Some(format!("0000:{bus:02x}:{device:02x}.{function}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn vendors_are_known_by_what_they_say() {
        for (root, manufacturer, expected) in [
            (json!({"Vendor": "Dell"}), None, Vendor::Dell),
            (
                json!({"Name": "HPE RESTful Root Service"}),
                None,
                Vendor::Hpe,
            ),
            (json!({"Oem": {"Supermicro": {}}}), None, Vendor::Supermicro),
            (json!({}), Some("Lenovo"), Vendor::Lenovo),
            (
                json!({"Vendor": "Billet"}),
                Some("Billet lab"),
                Vendor::Other,
            ),
            (json!(null), None, Vendor::Other),
        ] {
            assert_eq!(Vendor::of(&root, manufacturer), expected, "{root}");
            assert_eq!(expected.quirks().vendor, expected);
        }
    }

    #[test]
    fn pci_numbers_as_they_come() {
        let (dell, hpe, lenovo) = (
            Vendor::Dell.quirks(),
            Vendor::Hpe.quirks(),
            Vendor::Lenovo.quirks(),
        );
        assert_eq!(dell.pci_id("0x10de").as_deref(), Some("10de"));
        assert_eq!(hpe.pci_id("4139").as_deref(), Some("102b"));
        assert_eq!(dell.pci_class("0x000003").as_deref(), Some("030000"));
        assert_eq!(lenovo.pci_class("0x030200").as_deref(), Some("030200"));
        assert_eq!(hpe.pci_class("2").as_deref(), Some("020000"));
        assert_eq!(
            dell.pci_address("23-0-0", "").as_deref(),
            Some("0000:17:00.0")
        );
        assert_eq!(
            lenovo
                .pci_address("slot_3.00", "NVIDIA L40 1c:00:00")
                .as_deref(),
            Some("0000:1c:00.0")
        );
        assert_eq!(lenovo.pci_address("x", "no address"), None);
        assert_eq!(dell.pci_address("300-0-0", ""), None);
    }

    #[test]
    fn firmware_that_does_not_run() {
        assert!(
            Vendor::Dell
                .quirks()
                .firmware_is_idle("Previous-25227-4.40")
        );
        assert!(!Vendor::Dell.quirks().firmware_is_idle("Installed-0-2.1.3"));
        assert!(Vendor::Lenovo.quirks().firmware_is_idle("UEFI-Pending"));
        assert!(!Vendor::Other.quirks().firmware_is_idle("Previous-1"));
    }
}
