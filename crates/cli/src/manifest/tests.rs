//! What is wrong with a manifest is said in exactly these sentences.

use super::*;

fn troubles(text: &str) -> String {
    let variable = |name: &str| (name == "SET").then(|| "from-env".to_owned());
    match read(text, Path::new("/nonexistent"), &variable) {
        Ok(_) => "fine".to_owned(),
        Err(troubles) => {
            let lines: Vec<String> = troubles.iter().map(ToString::to_string).collect();
            lines.join("\n")
        }
    }
}

/// A whole machine, in which the tests put something wrong.
const GOOD: &str = r#"
[[site]]
name = "fra1"
jurisdiction = "DE"
[[network]]
name = "main"
subnet = "10.88.0.0/24"
pool = ["10.88.0.10", "10.88.0.99"]
[[machine_type]]
name = "h100"
[machine_type.expected]
gpus = 8
min_memory_bytes = "1TiB"
[[machine]]
name = "r1-u01"
site = "fra1"
machine_type = "h100"
serial = "S1"
networks = { main = "10.88.0.11" }
[machine.bmc]
address = "10.0.0.1"
user = "root"
password = "calvin"
"#;

#[test]
fn a_good_one_is_read_whole() {
    let manifest = read(GOOD, Path::new("."), &|_| None).expect("a manifest");
    let machine = &manifest.machines[0].value;
    assert_eq!(machine.bmc.address, "https://10.0.0.1");
    assert_eq!(machine.bmc.password.expose(), "calvin");
    assert_eq!(manifest.machines[0].line, 14);
    assert_eq!(
        manifest.machine_types[0].value.expected.min_memory_bytes,
        Some(1 << 40)
    );
    assert!(manifest.dangling(&Known::default()).is_empty());
    assert!(!format!("{manifest:?}").contains("calvin"));

    let plural = GOOD
        .replace("[[machine]]", "[[machines]]")
        .replace("[machine.bmc]", "[machines.bmc]")
        .replace("[[site]]", "[[sites]]");
    assert_eq!(troubles(&plural), "fine");
}

#[test]
fn each_thing_wrong_has_its_sentence() {
    for (from, to, wanted) in [
        (
            "serial = \"S1\"",
            "seral = \"S1\"",
            "line 18: machine \"r1-u01\": there is no key \"seral\"; did you mean \"serial\"?",
        ),
        (
            "serial = \"S1\"",
            "colour = \"red\"",
            "line 18: machine \"r1-u01\": there is no key \"colour\"; known are name, site, machine_type, rack, serial, rotate_password, networks, bmc, take_over",
        ),
        (
            "[[site]]",
            "[[sit]]",
            "line 2: there is no key \"sit\"; did you mean \"site\"?",
        ),
        (
            "name = \"r1-u01\"",
            "name = \"R1 U01\"",
            "line 15: machine: \"name\": \"R1 U01\" is not a name: use 1 to 63 of a-z, 0-9, '.', '-' and '_', beginning with a letter or a digit",
        ),
        (
            "name = \"r1-u01\"\n",
            "",
            "line 14: machine: \"name\" is missing",
        ),
        (
            "serial = \"S1\"",
            "serial = 1",
            "line 18: machine \"r1-u01\": \"serial\" must be text in quotes, and is of type integer",
        ),
        (
            "10.88.0.11",
            "10.88.0.300",
            "line 19: machine \"r1-u01\": \"networks\": \"10.88.0.300\" is not an IPv4 address",
        ),
        (
            "10.88.0.11",
            "10.89.0.11",
            "line 14: machine \"r1-u01\": its address 10.89.0.11 is not in network main, 10.88.0.0/24",
        ),
        (
            "address = \"10.0.0.1\"",
            "address = \"10.0.0.300\"",
            "line 21: machine \"r1-u01\", bmc: \"address\": \"10.0.0.300\" is not a BMC's address: invalid IPv4 address",
        ),
        (
            "address = \"10.0.0.1\"",
            "address = \"http://10.0.0.1\"",
            "line 21: machine \"r1-u01\", bmc: \"address\": \"http://10.0.0.1\" is not a BMC's address: write https://ADDRESS or https://ADDRESS:PORT",
        ),
        (
            "password = \"calvin\"\n",
            "",
            "line 20: machine \"r1-u01\", bmc: the password is missing: give password, password_file or password_env",
        ),
        (
            "password = \"calvin\"",
            "password_env = \"UNSET\"",
            "line 23: machine \"r1-u01\", bmc: the environment has no variable UNSET",
        ),
        ("password = \"calvin\"", "password_env = \"SET\"", "fine"),
        (
            "password = \"calvin\"",
            "password_file = \"pw\"",
            "line 23: machine \"r1-u01\", bmc: reading the password from /nonexistent/pw: No such file or directory (os error 2)",
        ),
        (
            "password = \"calvin\"",
            "password = \"calvin\"\npassword_env = \"SET\"",
            "line 20: machine \"r1-u01\", bmc: give one of password, password_file and password_env, not several",
        ),
        (
            "password = \"calvin\"",
            "password = \"calvin\"\nfingerprint = \"abc\"",
            "line 24: machine \"r1-u01\", bmc: \"fingerprint\": \"abc\" is not a fingerprint: use the SHA-256 of a certificate, 64 hexadecimal digits",
        ),
        (
            "10.88.0.0/24",
            "10.88.0.7/24",
            "line 7: network \"main\": \"subnet\": \"10.88.0.7/24\" is not a subnet's first address: did you mean 10.88.0.0/24?",
        ),
        (
            "\"10.88.0.10\", \"10.88.0.99\"",
            "\"10.88.0.10\"",
            "line 8: network \"main\": \"pool\" must be two addresses, the first and the last to give out",
        ),
        (
            "gpus = 8",
            "gpus = -8",
            "line 12: machine type \"h100\", expected: \"gpus\" must be a whole number, 0 or more",
        ),
        (
            "\"1TiB\"",
            "\"much\"",
            "line 13: machine type \"h100\", expected: \"min_memory_bytes\": \"much\" is not a size: write it as 64GiB, 512MiB or in bytes",
        ),
        (
            "[machine.bmc]",
            "[machine.bmc",
            "line 20: this is not TOML: unclosed table, expected `]`",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        assert_eq!(
            troubles(&GOOD.replacen(from, to, 1)),
            wanted,
            "{from} -> {to}"
        );
    }
}

#[test]
fn everything_said_twice_is_said_with_both_lines() {
    let (_, machine) = GOOD.split_once("[[machine]]").expect("a machine");
    let again =
        format!("{GOOD}[[site]]\nname = \"fra1\"\njurisdiction = \"DE\"\n[[machine]]{machine}");
    assert_eq!(
        troubles(&again),
        "line 24: site \"fra1\" is declared twice, first on line 2\n\
         line 27: machine \"r1-u01\" is declared twice, first on line 14\n\
         line 27: machine \"r1-u01\": its BMC https://10.0.0.1 is also that of \"r1-u01\" on line 14\n\
         line 27: machine \"r1-u01\": its address 10.88.0.11 on network main is also that of \"r1-u01\" on line 14\n\
         line 27: machine \"r1-u01\": its serial S1 is also that of \"r1-u01\" on line 14"
    );
}

#[test]
fn references_are_to_the_file_or_the_server() {
    let text = GOOD
        .replace("machine_type = \"h100\"", "machine_type = \"h101\"")
        .replace("site = \"fra1\"", "site = \"muc9\"");
    let manifest = read(&text, Path::new("."), &|_| None).expect("a manifest");
    let told: Vec<String> = manifest
        .dangling(&Known::default())
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "line 14: machine \"r1-u01\": there is no site \"muc9\"; declare it with [[site]], or make it first",
            "line 14: machine \"r1-u01\": there is no machine type \"h101\"; did you mean \"h100\"?",
        ]
    );
    let known = Known {
        sites: ["muc9".parse().expect("a name")].into(),
        machine_types: ["h101".parse().expect("a name")].into(),
        ..Known::default()
    };
    assert!(manifest.dangling(&known).is_empty());
}
