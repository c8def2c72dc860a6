//! What bad input gets: one table of what is given, how it ends, and what is said. Whatever is
//! refused, nothing is made and nothing is changed. docs/errors.md says where the rest is.

use std::{
    fs,
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    site::{KEY, Site, fault},
    support::{items, word},
};

/// Bad input, by the command line.
struct Row<'a> {
    arguments: Vec<&'a str>,
    code: i32,
    /// What is in the sentence: the thing, and the way out.
    says: Vec<&'a str>,
}

fn row<'a>(arguments: &[&'a str], code: i32, says: &[&'a str]) -> Row<'a> {
    Row {
        arguments: arguments.to_vec(),
        code,
        says: says.to_vec(),
    }
}

/// All that there is, but for what changes by itself: readings of BMCs, and when tokens were used.
struct Stock {
    http: Client,
    url: String,
    token: String,
}

impl Stock {
    async fn of(site: &Site) -> Self {
        Self {
            // Its certificate is the product's own; other tests are about that.
            http: Client::builder()
                .danger_accept_invalid_certs(true)
                .build()
                .expect("a client"),
            url: site.server_url().trim_end_matches('/').to_owned(),
            token: site.token().await,
        }
    }

    async fn taken(&self) -> Value {
        let mut all = json!({});
        for nouns in [
            "organisations",
            "projects",
            "sites",
            "networks",
            "machine-types",
            "machines",
            "images",
            "leases",
            "operations",
            "users",
            "groups",
            "tokens",
            "quotas",
            "webhooks",
        ] {
            let url = format!("{}/v1/{nouns}", self.url);
            let asked = self.http.get(url).bearer_auth(&self.token);
            let answer = asked.send().await.expect("answered");
            assert_eq!(answer.status(), StatusCode::OK, "{nouns}");
            let mut list: Value = answer.json().await.expect("JSON");
            for item in list["items"].as_array_mut().expect("a list") {
                let item = item.as_object_mut().expect("an object");
                for by_itself in ["power", "version", "last_used_at", "waiting"] {
                    item.remove(by_itself);
                }
            }
            all[nouns] = list;
        }
        all
    }
}

/// Runs the rows as whoever signed in under `context`: each ends as it should and says what it
/// should, without debugging output, and leaves all as it was. All rows that do not are told.
async fn refused(site: &Site, stock: &Stock, context: &str, rows: &[Row<'_>]) {
    let before = stock.taken().await;
    let mut wrong = Vec::new();
    for row in rows {
        let ran = site.by(context, &row.arguments).await;
        let mut lacks = Vec::new();
        if ran.code != row.code {
            lacks.push(format!("ended with {}, not {}", ran.code, row.code));
        }
        let unsaid = row.says.iter().filter(|told| !ran.stderr.contains(**told));
        lacks.extend(unsaid.map(|told| format!("does not say {told:?}")));
        let raw = ["panicked", "RUST_BACKTRACE", "Err(", "Some("];
        let raw = raw.iter().filter(|raw| ran.stderr.contains(**raw));
        lacks.extend(raw.map(|raw| format!("has debugging output, {raw:?}")));
        if stock.taken().await != before {
            lacks.push("has changed something".into());
        }
        if !lacks.is_empty() {
            let words = row.arguments.iter();
            let words: Vec<String> = words.map(|w| w.chars().take(60).collect()).collect();
            let (words, lacks) = (words.join(" "), lacks.join("; "));
            wrong.push(format!("{words}: {lacks}\n{}", ran.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A disk image of so many bytes, which takes next to none: qcow2 in clusters of 64 KiB without
/// any that hold data.
fn empty_disk(bytes: u64) -> Vec<u8> {
    const CLUSTER: u64 = 64 << 10;
    // Each entry of the first table stands for a cluster of entries of 8 bytes.
    let entries = bytes.div_ceil(CLUSTER * CLUSTER / 8);
    let table = (entries * 8).next_multiple_of(CLUSTER);
    let mut disk = b"QFI\xfb".to_vec();
    let words = |disk: &mut Vec<u8>, words: &[u32]| {
        disk.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    };
    let longs = |disk: &mut Vec<u8>, longs: &[u64]| {
        disk.extend(longs.iter().flat_map(|long| long.to_be_bytes()));
    };
    words(&mut disk, &[3, 0, 0, 0, 16]);
    longs(&mut disk, &[bytes]);
    words(&mut disk, &[0, u32::try_from(entries).expect("few")]);
    longs(&mut disk, &[CLUSTER, CLUSTER + table]);
    words(&mut disk, &[1, 0]);
    longs(&mut disk, &[0, 0, 0, 0]);
    words(&mut disk, &[4, 104]);
    disk.resize(usize::try_from(2 * CLUSTER + table).expect("small"), 0);
    disk
}

/// Files that are not what they should be.
fn files(site: &Site) {
    let home = &site.home;
    let lab = fs::read_to_string(home.path("lab.toml")).expect("a manifest");
    let (first, second) = (site.name(0), site.name(1));
    home.write(
        "typo.toml",
        lab.replace("machine_type = ", "machine_typ = "),
    );
    home.write("twice.toml", lab.replace(&second, &first));
    home.write("no.toml", "[[machine]\n");
    home.write("large.toml", vec![b'#'; 17 << 20]);
    home.write("latin.toml", [b'#', 0xff]);
    let elsewhere = "[[machine]]\nname = \"m1\"\nsite = \"nowhere\"\nmachine_type = \"abacus\"\n\
        bmc = { address = \"10.0.0.7\", user = \"root\", password = \"secret-word\" }\n";
    home.write("refers.toml", elsewhere);
    home.write("large.yaml", vec![b'a'; 10_000_000]);
    home.write("over.yaml", vec![b'a'; (64 << 10) + 1]);
    home.write("no.yaml", "#cloud-config\nusers: [1\n");
    home.write("plain.yaml", "hello\n");
    home.write("latin.yaml", [b'#', 0xff]);
    home.write("no.json", "{\"arrays\": [");
    home.write("typo.json", "{\"arays\": []}");
    home.write("private", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    home.write("empty.raw", "");
    home.write("word", "secret-word\n");
    home.write("huge.qcow2", empty_disk(8 << 40));
    home.write("over.qcow2", empty_disk(100 << 40));
    home.write("cut.qcow2", &empty_disk(1 << 30)[..65_540]);
    fs::create_dir(home.path("folder")).expect("made");
    // Nobody writes to it: who opens it waits for ever.
    let pipe = Command::new("mkfifo").arg(home.path("pipe")).status();
    assert!(pipe.expect("mkfifo runs").success());
}

#[tokio::test]
async fn what_is_wrong_is_named_with_the_way_out_and_nothing_is_made() {
    let models = ["cpu", "cpu"];
    let limit = ["--disk-limit", "64TiB"];
    let Some(site) = Site::of_phantoms_with("bad input", &models, &limit).await else {
        return;
    };
    tokio::join!(site.take_over(), site.tiny_image());
    site.project("red").await;
    site.project("blue").await;
    files(&site);
    let stock = Stock::of(&site).await;
    site.note("taken over");

    let enroll = |file| ["machine", "enroll", "-f", file];
    let apply = |file| ["apply", "-f", file, "--yes"];
    let one = |name, bmc, kind, at| {
        let named = ["machine", "enroll", name, "--bmc", bmc, "--user", "root"];
        let more = ["--password-file", "word", "--type", kind, "--site", at];
        [&named[..], &more].concat()
    };
    let kind = site.machine_type();
    let (first, second) = (site.name(0), site.name(1));
    let twice = format!("machine {first:?} is declared twice, first on line");
    let known = [twice.as_str(), "twice.toml", "nothing was sent"];
    let of_first = format!("{first} is available");
    let help = "`billet help manifest`";
    let typo = ["typo.toml", "\"machine_typ\"; did you mean", help];
    #[rustfmt::skip]
    let manifests = [
        row(&enroll("typo.toml"), 2, &typo),
        row(&apply("typo.toml"), 2, &typo),
        row(&enroll("twice.toml"), 2, &known),
        row(&apply("twice.toml"), 2, &known),
        row(&enroll("no.toml"), 2, &["line 1: this is not TOML", help]),
        row(&enroll("large.toml"), 2, &["large.toml", "more than 16 MiB"]),
        row(&enroll("latin.toml"), 2, &["latin.toml", "not text in UTF-8"]),
        row(&enroll("missing.toml"), 2, &["missing.toml", "No such file"]),
        row(&apply("folder"), 2, &["folder", "directory"]),
        row(&enroll("refers.toml"), 2, &["no site \"nowhere\"", "no machine type \"abacus\"", "[[site]]"]),
        row(&apply("refers.toml"), 2, &["no site \"nowhere\"", "no machine type \"abacus\""]),
        row(&one("", "10.0.0.7", &kind, "lab"), 2, &["\"\" is not a name: use 1 to 63"]),
        row(&one("m1", "http://[::1", &kind, "lab"), 2, &["\"http://[::1\" is not a BMC's address"]),
        row(&one("m1", "10.0.0.7", "abacus", "lab"), 4, &["no machine type abacus", "`billet type list`"]),
        row(&one("m1", "10.0.0.7", &kind, "nowhere"), 4, &["no site nowhere", "`billet site list`"]),
    ];
    refused(&site, &stock, "default", &manifests).await;
    site.note("manifests");

    let add = |name, how, from| ["image", "add", name, how, from];
    let checked = [
        &add("i", "--file", "image.raw")[..],
        &["--checksum", "md5:abc"],
    ]
    .concat();
    let private = "http://10.0.0.1/x";
    #[rustfmt::skip]
    let others = [
        row(&add("i", "--file", "missing.raw"), 2, &["missing.raw", "No such file"]),
        row(&add("i", "--file", "folder"), 2, &["folder", "directory", "nothing was sent"]),
        row(&add("i", "--file", "empty.raw"), 2, &["empty.raw: it is empty"]),
        row(&add("i", "--file", "pipe"), 2, &["pipe: it is no file", "nothing was sent"]),
        row(&add("i", "--url", "nonsense"), 4, &["url", "write it as https://host/path"]),
        row(&add("i", "--url", "ftp://a/b"), 4, &["ftp://a/b", "only http and https"]),
        row(&add("i", "--url", private), 4, &[private, "`--fetch-allow`"]),
        row(&checked, 4, &["`md5:abc`", "sha256:"]),
        row(&add("tiny", "--file", "image.raw"), 4, &["\"tiny\"", "choose another"]),
        row(&add("naïve", "--file", "image.raw"), 2, &["\"naïve\" is not a name: use"]),
        row(&["machine", "show", ""], 2, &["<NAME> is empty: give a name or an id"]),
        row(&["machine", "show", "nobody"], 3, &["\"nobody\"", "list what there is"]),
        row(&["machine", "list", "--lifecycle", "asleep"], 4, &["`asleep`", "`available`"]),
        row(&["machine", "take-over", &second], 2, &["needs a yes", "--yes"]),
        row(&["machine", "take-over", &first, "--yes"], 4, &[&of_first]),
        row(&["machine", "power", &first, "explode"], 2, &["'explode'", "possible values: on, off"]),
        row(&["machine", "quarantine", &first, "--reason", ""], 4, &["reason", "500 characters"]),
        row(&["machine", "retire", &first], 2, &["needs a yes", "--yes"]),
        row(&["machine", "drives", &first, "--strike", "S0", "--reason", "r"], 4, &["S0 is not a drive", &first]),
        row(&["token", "create", "t", "--role", "member"], 4, &["for no one project", "--project"]),
        row(&["token", "create", "t", "--role", "auditor", "--expires", "-1d"], 2, &["\"-1d\"", "write it as 3d"]),
        row(&["token", "create", "t", "--role", "auditor", "--scope", "all"], 2, &["\"all\" is not a scope", "`leases:write`"]),
        row(&["network", "create", "n", "--subnet", "10.0.0.0/99"], 4, &["10.0.0.0/99", "10.88.0.0/24"]),
        row(&["project", "create", "p", "--organisation", "nobody"], 3, &["organisation \"nobody\""]),
        row(&["webhook", "create", "w", "--project", "red", "--url", "nonsense"], 4, &["url", "https://host/path"]),
        row(&["operation", "show", "nonsense"], 2, &["\"nonsense\" is not an id", "`-o json`"]),
        row(&["audit", "list", "--since", "tomorrow"], 2, &["\"tomorrow\" is not a moment", "2026-"]),
        row(&["restore", "missing.db", "--data", "other"], 2, &["missing.db", "No such file"]),
        row(&["bmc", "inspect", "127.0.0.1:1", "--user", "u", "--password-file", "word", "--accept-fingerprint", "any"], 5, &["127.0.0.1:1", "check the address"]),
        row(&["lease", "shwo", "x"], 2, &["'shwo'", "'show'"]),
    ];
    refused(&site, &stock, "default", &others).await;
    site.note("operators");

    let lease = |more: &[&'static str]| {
        let lease = ["lease", "create", "--type", &*kind, "--image", "tiny"];
        [&lease[..], &["--ssh-key", KEY], more].concat()
    };
    let create = |kind, image, key| {
        let lease = ["lease", "create", "--type", kind];
        [&lease[..], &["--image", image, "--ssh-key", key]].concat()
    };
    let small = "a small one: {\"arrays\"";
    #[rustfmt::skip]
    let leases = [
        row(&create("abacus", "tiny", KEY), 4, &["no machine type abacus", "`billet offers`"]),
        row(&create("", "tiny", KEY), 2, &["\"\" is not a name: use"]),
        row(&create(&kind, "nothing", KEY), 3, &["image \"nothing\"", "list what there is"]),
        row(&create(&kind, "tiny", "nothing.pub"), 2, &["\"nothing.pub\"", "~/.ssh/id_ed25519.pub"]),
        row(&create(&kind, "tiny", "folder"), 2, &["\"folder\"", "~/.ssh/id_ed25519.pub"]),
        row(&create(&kind, "tiny", "private"), 2, &["private key", "private.pub"]),
        row(&create(&kind, "tiny", "ssh-ed25519 AAAA"), 2, &["the key \"ssh-ed25519 AAAA\""]),
        row(&lease(&["--user-data", "large.yaml"]), 2, &["large.yaml is 9.5 MiB", "64 KiB", "fetch the rest"]),
        row(&lease(&["--user-data", "over.yaml"]), 2, &["over.yaml", "64 KiB", "fetch the rest"]),
        row(&lease(&["--user-data", "no.yaml"]), 4, &["user data is not YAML: line 2 column"]),
        row(&lease(&["--user-data", "plain.yaml"]), 4, &["\"hello\"", "`#cloud-config`"]),
        row(&lease(&["--user-data", "latin.yaml"]), 2, &["latin.yaml", "not text in UTF-8"]),
        row(&lease(&["--user-data", "folder"]), 2, &["folder", "directory"]),
        row(&lease(&["--user-data", "missing.yaml"]), 2, &["missing.yaml", "No such file"]),
        row(&lease(&["--layout", "no.json"]), 2, &["no.json", "line 1 column 12", small]),
        row(&lease(&["--layout", "typo.json"]), 2, &["`arays`", "`arrays`", small]),
        row(&lease(&["--layout", "missing.json"]), 2, &["missing.json", small]),
        row(&lease(&["--layout", "/dev/zero"]), 2, &["/dev/zero", "more than 1 MiB"]),
        row(&lease(&["--array", "nonsense,,,="]), 2, &["nonsense,,,=", "KEY=VALUE"]),
        row(&lease(&["--array", "data,level=7"]), 2, &["data,level=7", "0, 1, 5, 6 or 10"]),
        row(&lease(&["--array", "data,level=5,drives=4"]), 4, &["data", "needs 4 drives, and 1", "Ask for fewer"]),
        row(&lease(&["--root-drive", "fastest"]), 2, &["'fastest'", "`smallest`"]),
        row(&lease(&["--root-drive", "serial=S0"]), 4, &["serial number S0", "Choose one of these"]),
        row(&lease(&["--name", ""]), 2, &["--name", "use 1 to 63"]),
        row(&lease(&["--name", "naïve"]), 2, &["\"naïve\" is not a name: use"]),
        row(&lease(&["--tag", "nonsense"]), 2, &["\"nonsense\" is not of the form key=value"]),
        row(&lease(&["--term", "-3d"]), 2, &["\"-3d\"", "write it as 3d"]),
        row(&lease(&["--term", "0d"]), 2, &["\"0d\"", "write it as 3d"]),
        row(&lease(&["--term", "900000w"]), 4, &["544320000000 seconds", "ten years"]),
        row(&lease(&["--site", "nowhere"]), 4, &["no site nowhere", "`billet offers`"]),
        row(&lease(&["--kernel-args", "quiet"]), 4, &["how image tiny boots", "use an image with"]),
        row(&["lease", "show", "../../machines"], 3, &["\"../../machines\""]),
        row(&["lease", "release", ""], 2, &["<NAME> is empty"]),
        row(&["lease", "extend", "nothing", "--by", "1d"], 3, &["lease \"nothing\""]),
        row(&["machine", "list"], 4, &["role member", "operator", "`billet whoami`"]),
        row(&["ssh", "nothing"], 3, &["lease \"nothing\""]),
    ];
    refused(&site, &stock, "red", &leases).await;
    site.note("tenants");

    // An image that is larger than the drives of whoever is free.
    let add = ["image", "add", "huge", "--file", "huge.qcow2"];
    site.op(&add).await.good();
    let larger = row(
        &create(&kind, "huge", KEY),
        4,
        &[
            "huge is a disk of 8796093022208 bytes",
            "the drive that would hold",
            "--root-drive",
        ],
    );
    refused(&site, &stock, "red", &[larger]).await;

    // A name that two projects have, and then one machine more than there is.
    let same = lease(&["--name", "same"]);
    let (red, blue) = tokio::join!(site.by("red", &same), site.by("blue", &same));
    red.good();
    blue.good();
    let ambiguous = ["\"same\"", "by id", "`billet lease list -o json`"];
    #[rustfmt::skip]
    let two = [
        row(&["lease", "show", "same"], 4, &ambiguous),
        row(&["lease", "release", "same"], 4, &ambiguous),
        row(&["machine", "take-over", &first, "--yes"], 4, &[&first, "only an enrolled"]),
    ];
    refused(&site, &stock, "default", &two).await;
    let more = [
        row(&same, 4, &[&kind, "`billet offers`"]),
        row(&lease(&["--name", "third"]), 4, &[&kind, "`billet offers`"]),
    ];
    refused(&site, &stock, "red", &more).await;
    site.end().await;
}

/// Images that turn out wrong while they come in have failed for good, hold nothing, and say how to
/// go on.
#[tokio::test]
async fn an_image_that_is_cut_short_or_too_large_fails_and_says_so() {
    let limit = ["--disk-limit", "64TiB"];
    let Some(site) = Site::of_phantoms_with("images cut short", &["cpu", "cpu"], &limit).await
    else {
        return;
    };
    files(&site);
    let url = cut_short();
    let early = "ends too early";
    for (name, how, from, code, says) in [
        ("a", "--file", "cut.qcow2", 4, &[early][..]),
        ("b", "--url", &url, 1, &[&url]),
        (
            "c",
            "--file",
            "over.qcow2",
            4,
            &["109951162777600", "70368744177664"],
        ),
        (
            "d",
            "--url",
            "http://127.0.0.1:1/d",
            1,
            &["http://127.0.0.1:1/d"],
        ),
    ] {
        let ran = site.op(&["image", "add", name, how, from]).await;
        let ran = ran
            .coded(code)
            .said(&format!("`billet image delete {name}`"));
        for told in says {
            assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
        }
        let image = site.ask(&["image", "show", name]).await;
        assert_eq!(image["state"], "failed", "{image:#}");
        assert_eq!(image["content"], Value::Null);
        let reason = word(&image["reason"]);
        assert!(reason.contains(says[0]), "{reason}");
        site.op(&["image", "delete", name]).await.good();
    }
    let images = site.home.path("data/images");
    let left: Vec<_> = fs::read_dir(images).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    site.end().await;
}

/// An image that does not boot fails its lease after its time, with where to look; the machine is
/// erased and free again. At a reinstallation the lease stays its tenant's, who can try another.
#[tokio::test]
async fn an_image_that_does_not_boot_costs_its_lease_and_nothing_else() {
    let limit = ["--first-boot", "20s"];
    let title = "an image that does not boot";
    let Some(site) = Site::of_phantoms_with(title, &["cpu"], &limit).await else {
        return;
    };
    tokio::join!(site.take_over(), site.tiny_image());
    site.project("red").await;
    let (machine, machine_type) = (site.name(0), site.machine_type());
    let dead = fault(&machine, "system", "no_system", json!({}));

    site.fault(dead.clone()).await;
    let create = site.lease("dead", &machine_type);
    let ran = site.by("red", &create).await.coded(1);
    for told in [
        "did not end within 20 seconds",
        "`billet lease console dead --log`",
    ] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    let lease = site.ask_by("red", &["lease", "show", "dead"]).await;
    assert_eq!(lease["state"], "failed", "{lease:#}");
    // The place that was named has it.
    let log = ["lease", "console", "dead", "--log"];
    let log = site.by("red", &log).await.good().stdout;
    assert!(log.contains("Kernel panic"), "{log}");
    let freed = site.until_lifecycle(&machine, "available", 120).await;
    assert_eq!(freed["lease"], Value::Null);
    let of_lease = |c: &Value| c["lease"] == lease["id"];
    let certificates = site.certificates(&machine).await;
    assert!(certificates.iter().any(of_lease), "{certificates:?}");

    site.no_faults().await;
    let create = site.lease("good", &machine_type);
    site.by("red", &create).await.good();
    site.fault(dead).await;
    let reinstall = ["lease", "reinstall", "good", "--yes"];
    let ran = site.by("red", &reinstall).await.coded(1);
    assert!(ran.stderr.contains("20 seconds"), "{}", ran.stderr);
    let lease = site.ask_by("red", &["lease", "show", "good"]).await;
    assert_eq!(lease["state"], "broken", "{lease:#}");
    assert_eq!(site.machine(&machine).await["lease"], lease["id"]);
    site.no_faults().await;
    site.by("red", &reinstall).await.good();
    let lease = site.ask_by("red", &["lease", "show", "good"]).await;
    assert_eq!(lease["state"], "active", "{lease:#}");
    site.end().await;
}

/// An address of an image that breaks off half-way.
fn cut_short() -> String {
    use std::io::{Read as _, Write as _};
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n";
            let _ = stream.write_all(head);
            let _ = stream.write_all(&[7; 1_000_000]);
        }
    });
    format!("http://{address}/image.raw")
}

/// A BMC that nobody answers for, and hardware that is not what was said: both are on the list, held
/// from tenants, with what is wrong and what to do.
#[tokio::test]
async fn unreachable_bmcs_and_other_hardware_are_told_and_hold_up_nobody_else() {
    let Some(site) = Site::of_phantoms("BMCs and hardware", &["h100", "cpu"]).await else {
        return;
    };
    let lab = fs::read_to_string(site.home.path("lab.toml")).expect("a manifest");
    let other = lab.replace("gpus = 8", "gpus = 4");
    assert_ne!(other, lab);
    site.home.write("lab.toml", other);
    site.home.write("word", "secret-word\n");
    site.enroll().await;
    let (odd, good) = (site.name(0), site.name(1));
    let kind = word(&site.machines[1]["machine_type"]).to_owned();
    let one = ["machine", "enroll", "lost", "--bmc", "127.0.0.1:1"];
    let more = ["--user", "root", "--password-file", "word", "--site", "lab"];
    let enroll = [&one[..], &more, &["--type", &kind]].concat();
    let ran = site.op(&enroll).await.coded(1);
    for told in ["127.0.0.1:1", "check the address", "machine inspect lost"] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains("secret-word"), "{}", ran.stderr);
    let take_over = ["machine", "take-over", "lost", "--yes"];
    let ran = site.op(&take_over).await.coded(4);
    assert!(ran.stderr.contains("lost"), "{}", ran.stderr);

    // The list is for all of them all the same.
    let machines = site.ask(&["machine", "list"]).await;
    assert_eq!(items(&machines).len(), 3);
    let take_over = ["machine", "take-over", &odd, &good, "--yes"];
    let ran = site.op(&take_over).await.coded(1);
    for told in [&odd, "GPUs: expected 4, found 8", "billet machine"] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    assert_eq!(site.machine(&good).await["lifecycle"], "available");
    let machine = site.machine(&odd).await;
    assert_eq!(machine["lifecycle"], "quarantined", "{machine:#}");
    let lost = site.machine("lost").await;
    assert_eq!(lost["lifecycle"], "enrolled");
    let offers = site.ask(&["offers"]).await;
    let free = |o: &&Value| o["free"].as_u64() > Some(0);
    assert_eq!(items(&offers).iter().filter(free).count(), 1, "{offers:#}");
    site.op(&["machine", "retire", "lost", "--yes"])
        .await
        .good();
    site.end().await;
}

/// Tokens that are not good, or not for this.
#[tokio::test]
async fn tokens_that_are_not_good_are_told_what_helps() {
    let Some(site) = Site::of_phantoms("bad tokens", &["cpu"]).await else {
        return;
    };
    site.project("red").await;
    let stock = Stock::of(&site).await;
    let token = async |name: &str, more: &[&str]| {
        let create = [&["token", "create", name][..], more].concat();
        let secret = site.op(&create).await.good().stdout;
        secret.trim().to_owned()
    };
    let list = ["lease", "list"];
    let disabled = token("a", &["--role", "auditor"]).await;
    let tokens = site.ask(&["token", "list"]).await;
    let id = |name: &str| {
        let found = items(&tokens).iter().find(|t| t["name"] == name);
        word(&found.expect("the token")["id"]).to_owned()
    };
    site.op(&["token", "disable", &id("a")]).await.good();
    site.op(&["user", "create", "alice"]).await.good();
    let users = token("b", &["--user", "alice"]).await;
    site.op(&["user", "disable", "alice"]).await.good();
    let expired = token("c", &["--role", "auditor", "--expires", "1s"]).await;
    let began = Instant::now();
    while site.home.run_as(&expired, &list).await.code == 0 {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "it never expires"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let foreign = format!("billet_{}", "A".repeat(43));
    let before = stock.taken().await;
    for (token, says) in [
        (
            &*disabled,
            "is disabled: whoever gave it to you can enable it",
        ),
        (&*users, "user is disabled: an operator can enable it"),
        (&*expired, "time is over: ask whoever gave it to you"),
        (&*foreign, "there is no such token"),
        ("nonsense", "`billet login`"),
    ] {
        let ran = site.home.run_as(token, &list).await.coded(6);
        let ran = ran.said(says).said("hint: sign in again");
        assert!(!ran.stderr.contains(token), "{}", ran.stderr);
    }
    // Good, and for something else.
    let narrow = token("d", &["--role", "operator", "--scope", "leases:read"]).await;
    let create = ["organisation", "create", "other"];
    let ran = site.home.run_as(&narrow, &create).await.coded(4);
    ran.said("cut down to leases:read; this takes organisations:write");
    let after = stock.taken().await;
    assert_eq!(before["organisations"], after["organisations"]);
    assert_eq!(before["leases"], after["leases"]);
    site.end().await;
}

/// What the program would not send, sent all the same: refused as a problem, by what is wrong.
#[tokio::test]
async fn what_the_program_would_not_send_is_refused_by_the_server() {
    let Some(site) = Site::of_phantoms("raw requests", &["cpu"]).await else {
        return;
    };
    tokio::join!(site.take_over(), site.tiny_image());
    site.project("red").await;
    let stock = Stock::of(&site).await;
    let kind = site.machine_type();
    let before = stock.taken().await;
    let lease = |more: Value| {
        let mut lease = json!({"project": "red", "machine_type": kind, "image": "tiny"});
        let more = more.as_object().expect("an object").clone();
        lease.as_object_mut().expect("an object").extend(more);
        lease.to_string()
    };
    let large = "a".repeat((64 << 10) + 1);
    let body = "b".repeat((1 << 20) + 1);
    let json = "application/json";
    #[rustfmt::skip]
    let rows = [
        ("POST", "/v1/leases", json, "{".to_owned(), 400, "malformed", None, "line 1"),
        ("POST", "/v1/leases", "text/plain", lease(json!({})), 415, "media-type", None, "Content-Type: application/json"),
        ("POST", "/v1/leases", json, lease(json!({"imag": "x"})), 422, "invalid", Some("imag"), "unknown field"),
        ("POST", "/v1/leases", json, lease(json!({"user_data": large})), 413, "too-large", Some("user_data"), "have it fetch the rest"),
        ("POST", "/v1/leases", json, lease(json!({"user_data": "#cloud-config\n- a\n"})), 422, "invalid", Some("user_data"), "not a mapping"),
        ("POST", "/v1/leases", json, lease(json!({"user_data": "hello"})), 422, "invalid", Some("user_data"), "`#cloud-config`"),
        ("POST", "/v1/leases", json, lease(json!({"ssh_keys": ["ssh-ed25519 AAAA"]})), 422, "invalid", Some("ssh_keys[0]"), "copy it anew"),
        ("POST", "/v1/leases", json, lease(json!({"term_seconds": -1})), 422, "invalid", Some("term_seconds"), "-1"),
        ("POST", "/v1/leases", json, lease(json!({"name": "A B"})), 422, "invalid", Some("name"), "use 1 to 63"),
        ("POST", "/v1/leases", json, body, 413, "too-large", None, "1048576 bytes"),
        ("GET", "/v1/leases?colour=red", json, String::new(), 422, "invalid", Some("colour"), "unknown field"),
        ("GET", "/v1/leases/%ff", json, String::new(), 404, "not-found", None, "use a name or an id"),
        ("PUT", "/v1/leases", json, String::new(), 405, "method-not-allowed", None, "GET, POST"),
        ("GET", "/v2", json, String::new(), 404, "not-found", None, "/v1/openapi.json"),
    ];
    for (method, path, media_type, body, status, problem, field, says) in rows {
        let method: Method = method.parse().expect("a method");
        let url = format!("{}{path}", stock.url);
        let start: String = body.chars().take(60).collect();
        let request = stock.http.request(method, url).bearer_auth(&stock.token);
        let request = request.header("content-type", media_type).body(body);
        let answer = request.send().await.expect("answered");
        let row = format!("{path} {start}: {}", answer.status());
        let found = answer.headers()["content-type"].clone();
        assert_eq!(found, "application/problem+json", "{row}");
        assert_eq!(answer.status().as_u16(), status, "{row}");
        let told: Value = answer.json().await.expect("JSON");
        let kind = format!("https://billet.dev/problems/{problem}");
        assert_eq!(told["type"], kind, "{row}: {told}");
        assert_eq!(told["field"].as_str(), field, "{row}: {told}");
        let detail = word(&told["detail"]);
        assert!(detail.contains(says), "{row}: wanted {says}: {detail}");
        assert_eq!(before, stock.taken().await, "{row}");
    }
    site.end().await;
}
