//! A TPM 2.0, as far as Billet needs one: what it is, and its clear, read back.
//!
//! The few commands are written out after the TPM 2.0 library specification
//! (part 3: commands; part 2: structures): each is some dozen bytes.

use std::{
    fs::OpenOptions,
    io::{self, Read, Write},
};

use billet_model::work::TpmClear;

const SESSIONS: u16 = 0x8002;
const NO_SESSIONS: u16 = 0x8001;
const CC_CLEAR: u32 = 0x126;
const CC_GET_CAPABILITY: u32 = 0x17A;
const RH_LOCKOUT: u32 = 0x4000_000A;
const RS_PW: u32 = 0x4000_0009;
const CAP_HANDLES: u32 = 1;
const CAP_PROPERTIES: u32 = 6;
const PT_PERMANENT: u32 = 0x200;
const PT_MANUFACTURER: u32 = 0x105;
const PT_FIRMWARE_1: u32 = 0x10B;
/// Persistent handles of the owner; those from 0x8180_0000 on are the platform's.
const PERSISTENT: u32 = 0x8100_0000;
const PLATFORM_PERSISTENT: u32 = 0x8180_0000;

/// Sends a command and returns the response.
pub trait Transport {
    /// One exchange.
    ///
    /// # Errors
    /// The device's.
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>>;
}

/// The kernel's TPM device.
#[derive(Debug)]
pub struct Device(std::fs::File);

impl Device {
    /// Opens the TPM, by way of the kernel's resource manager where it has one.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened.
    pub fn open() -> io::Result<Self> {
        let open = |path| OpenOptions::new().read(true).write(true).open(path);
        open("/dev/tpmrm0").or_else(|_| open("/dev/tpm0")).map(Self)
    }
}

impl Transport for Device {
    fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        let mut response = vec![0; 4096];
        let length = self.0.read(&mut response)?;
        response.truncate(length);
        Ok(response)
    }
}

fn command(tag: u16, code: u32, body: &[u8]) -> Vec<u8> {
    let length = 10 + u32::try_from(body.len()).unwrap_or(0);
    let mut bytes = tag.to_be_bytes().to_vec();
    bytes.extend(length.to_be_bytes());
    bytes.extend(code.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(field.try_into().ok()?))
}

/// Sends a command; a response that is an error is one.
fn run(tpm: &mut dyn Transport, command: &[u8]) -> Result<Vec<u8>, String> {
    let response = tpm.exchange(command).map_err(|e| e.to_string())?;
    match u32_at(&response, 6) {
        Some(0) => Ok(response),
        Some(code) => Err(meaning(code)),
        None => Err("its response was cut short".into()),
    }
}

/// A response code in words, for those that are met.
fn meaning(code: u32) -> String {
    // The error number without what says which parameter or session it is of.
    let what = match code {
        0x120 => "clearing is disabled until the platform's firmware allows it",
        0x921 => "it is locked out after wrong passwords",
        0x100 => "it is not initialised",
        c if c & 0x0BF == 0x0A2 || c & 0x0BF == 0x08E => {
            "the lockout hierarchy has a password: clear the TPM from the firmware's setup"
        }
        _ => return format!("it answered with response code {code:#05x}"),
    };
    format!("{what} (response code {code:#05x})")
}

/// TPM2_GetCapability.
fn capability(
    tpm: &mut dyn Transport,
    kind: u32,
    first: u32,
    count: u32,
) -> Result<Vec<u8>, String> {
    let mut body = kind.to_be_bytes().to_vec();
    body.extend(first.to_be_bytes());
    body.extend(count.to_be_bytes());
    let response = run(tpm, &command(NO_SESSIONS, CC_GET_CAPABILITY, &body))?;
    // After the header: more data (one byte), which capability, then the list.
    match u32_at(&response, 11) {
        Some(k) if k == kind => Ok(response[15..].to_vec()),
        _ => Err("its response to GetCapability is malformed".into()),
    }
}

/// One property, if the TPM has it.
fn property(tpm: &mut dyn Transport, which: u32) -> Result<Option<u32>, String> {
    let list = capability(tpm, CAP_PROPERTIES, which, 1)?;
    let has = u32_at(&list, 0) == Some(1) && u32_at(&list, 4) == Some(which);
    Ok(has.then(|| u32_at(&list, 8)).flatten())
}

/// Who made the TPM, and its firmware's version.
pub fn identity(tpm: &mut dyn Transport) -> (Option<String>, Option<String>) {
    let manufacturer = property(tpm, PT_MANUFACTURER).ok().flatten().map(|v| {
        let text = String::from_utf8_lossy(&v.to_be_bytes()).into_owned();
        text.trim_matches(|c: char| c == '\0' || c.is_whitespace())
            .to_owned()
    });
    let firmware = property(tpm, PT_FIRMWARE_1)
        .ok()
        .flatten()
        .map(|v| format!("{}.{}", v >> 16, v & 0xffff));
    (manufacturer, firmware)
}

/// Clears the TPM with the lockout hierarchy's empty password, and reads back
/// what that did.
pub fn clear(tpm: &mut dyn Transport) -> TpmClear {
    let mut body = RH_LOCKOUT.to_be_bytes().to_vec();
    // One session of nine bytes: the password session, no nonce, an empty password.
    body.extend(9u32.to_be_bytes());
    body.extend(RS_PW.to_be_bytes());
    body.extend([0, 0, 0, 0, 0]);
    let result = run(tpm, &command(SESSIONS, CC_CLEAR, &body))
        .map_err(|e| format!("TPM2_Clear failed: {e}"))
        .and_then(|_| read_back(tpm));
    match result {
        Ok(readback) => TpmClear::Cleared { readback },
        Err(reason) => TpmClear::NotCleared { reason },
    }
}

fn read_back(tpm: &mut dyn Transport) -> Result<String, String> {
    let permanent = property(tpm, PT_PERMANENT)
        .map_err(|e| format!("reading back after TPM2_Clear: {e}"))?
        .ok_or("the TPM does not tell its permanent attributes")?;
    let set: Vec<&str> = ["owner", "endorsement", "lockout"]
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| permanent & (1 << bit) != 0)
        .map(|(_, name)| name)
        .collect();
    if !set.is_empty() {
        return Err(format!(
            "after TPM2_Clear passwords are still set: {}",
            set.join(", ")
        ));
    }
    let list = capability(tpm, CAP_HANDLES, PERSISTENT, 128)
        .map_err(|e| format!("reading back after TPM2_Clear: {e}"))?;
    let count = u32_at(&list, 0).ok_or("the list of handles is malformed")?;
    let handles: Vec<u32> = (0..count as usize)
        .map_while(|n| u32_at(&list, 4 + 4 * n))
        .collect();
    let (owner, platform): (Vec<u32>, Vec<u32>) =
        handles.into_iter().partition(|h| *h < PLATFORM_PERSISTENT);
    // Objects of the owner and endorsement hierarchies go with a clear.
    if !owner.is_empty() {
        return Err(format!(
            "after TPM2_Clear {} persistent objects are still there",
            owner.len()
        ));
    }
    Ok(format!(
        "no password is set on the owner, endorsement and lockout hierarchies; no persistent object \
         is the owner's, {} the platform's",
        platform.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers from a list, and keeps what was asked.
    struct Script {
        answers: Vec<Vec<u8>>,
        asked: Vec<Vec<u8>>,
    }

    impl Transport for Script {
        fn exchange(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
            self.asked.push(command.to_vec());
            self.answers
                .pop()
                .ok_or_else(|| io::ErrorKind::NotConnected.into())
        }
    }

    fn script(mut answers: Vec<Vec<u8>>) -> Script {
        answers.reverse();
        Script {
            answers,
            asked: vec![],
        }
    }

    fn answer(code: u32) -> Vec<u8> {
        command(NO_SESSIONS, code, &[])
    }

    fn list(kind: u32, values: &[u32]) -> Vec<u8> {
        let mut body = vec![0];
        body.extend(kind.to_be_bytes());
        body.extend(values.iter().flat_map(|v| v.to_be_bytes()));
        command(NO_SESSIONS, 0, &body)
    }

    #[test]
    fn a_clear_is_read_back() {
        let mut tpm = script(vec![
            answer(0),
            list(CAP_PROPERTIES, &[1, PT_PERMANENT, 0x400]),
            list(CAP_HANDLES, &[1, 0x8180_0001]),
        ]);
        let TpmClear::Cleared { readback } = clear(&mut tpm) else {
            panic!("not cleared");
        };
        assert!(readback.contains("1 the platform's"));
        assert_eq!(tpm.asked[0].len(), 27);
        assert_eq!(u32_at(&tpm.asked[0], 2), Some(27));
    }

    #[test]
    fn what_is_not_cleared_is_said_with_its_reason() {
        for (answers, part) in [
            (vec![answer(0x9A2)], "has a password"),
            (vec![answer(0x98E)], "has a password"),
            (vec![answer(0x120)], "disabled"),
            (vec![vec![0; 3]], "cut short"),
            (vec![], "TPM2_Clear failed"),
            (
                vec![answer(0), list(CAP_PROPERTIES, &[1, PT_PERMANENT, 0b101])],
                "owner, lockout",
            ),
            (
                vec![
                    answer(0),
                    list(CAP_PROPERTIES, &[1, PT_PERMANENT, 0]),
                    list(CAP_HANDLES, &[2, 0x8100_0001, 0x8101_0000]),
                ],
                "2 persistent objects",
            ),
        ] {
            let TpmClear::NotCleared { reason } = clear(&mut script(answers)) else {
                panic!("cleared, where {part:?} was expected");
            };
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn a_tpm_says_who_made_it() {
        let mut tpm = script(vec![
            list(
                CAP_PROPERTIES,
                &[1, PT_MANUFACTURER, u32::from_be_bytes(*b"IBM\0")],
            ),
            list(CAP_PROPERTIES, &[1, PT_FIRMWARE_1, 0x0007_0055]),
        ]);
        let (manufacturer, firmware) = identity(&mut tpm);
        assert_eq!(manufacturer.as_deref(), Some("IBM"));
        assert_eq!(firmware.as_deref(), Some("7.85"));
    }
}
