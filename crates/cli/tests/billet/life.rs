//! The whole life of a machine, a phantom's, through the program alone: a real `billet serve`, a
//! real `billet lab up`, and every step that an operator and a tenant take.

use std::{path::Path, time::Duration};

use serde_json::Value;
use tokio::process::Child;

use crate::support::{Home, Ran};

/// A program that runs beside the test, and is ended with it.
pub struct Beside {
    child: Child,
}

impl Beside {
    /// Starts the program.
    pub fn start(home: &Home, arguments: &[&str], name: &str) -> Self {
        let log = |kind: &str| {
            let file = std::fs::File::create(home.path(&format!("{name}.{kind}")));
            std::process::Stdio::from(file.expect("a file"))
        };
        let child = home
            .command(arguments)
            .stdout(log("out"))
            .stderr(log("err"))
            .spawn()
            .expect("it runs");
        Self { child }
    }

    /// Asks it to end, and waits until it did so well.
    pub async fn stop(mut self) {
        let id = self.child.id().expect("it runs").to_string();
        let kill = tokio::process::Command::new("kill").arg(&id).status().await;
        assert!(kill.expect("kill runs").success());
        let ended = tokio::time::timeout(Duration::from_secs(40), self.child.wait());
        let status = ended.await.expect("it ends in time").expect("it ends");
        assert!(status.success(), "{status}");
    }
}

/// Waits until a file has a whole JSON object in it.
pub async fn wait_for(path: &Path) -> String {
    for _ in 0..300 {
        if let Ok(text) = std::fs::read_to_string(path)
            && text.ends_with("}\n")
        {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} did not come", path.display());
}

/// A server on `data`.
pub fn serve<'a>(data: &'a str, listen: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["serve", "--data", data, "--listen", listen];
    arguments.extend(["--pace", "lab", "--ramdisk", "ramdisk.efi", "-o", "json"]);
    arguments
}

/// What a list has.
pub fn items(json: &Value) -> &Vec<Value> {
    json["items"].as_array().expect("a list")
}

#[tokio::test]
async fn a_phantom_lives_its_whole_life() {
    let home = Home::new();
    // Phantoms boot nothing of it, and look only for the record beside it.
    home.write("ramdisk.efi", vec![0x4d; 64 * 1024]);
    let server = Beside::start(&home, &serve("data", "127.0.0.1:0"), "serve");
    let lab = [
        "lab",
        "up",
        "--phantom",
        "2",
        "--phantom-model",
        "cpu",
        "--manifest",
        "lab.toml",
        "-o",
        "json",
    ];
    let lab = Beside::start(&home, &lab, "lab");

    let up: Value = serde_json::from_str(&wait_for(&home.path("serve.out")).await).expect("JSON");
    let word = |key: &str| up[key].as_str().expect("text").to_owned();
    let (url, fingerprint, token) = (word("server"), word("fingerprint"), word("token"));
    let login = [
        "login",
        &url,
        "--fingerprint",
        &fingerprint,
        "--token-stdin",
    ];
    home.run_with(&login, &token).await.good();
    wait_for(&home.path("lab.out")).await;

    home.write("layout.json", "{}");

    // The operator brings machines in. Given again, the manifest changes nothing.
    let enroll = ["machine", "enroll", "-f", "lab.toml", "-o", "json"];
    let enrolled = home.run(&enroll).await.good().json();
    assert_eq!(items(&enrolled).len(), 2);
    let again = home.run(&enroll).await.good();
    assert!(items(&again.json()).is_empty());
    assert!(
        again
            .stderr
            .contains("machine phantom-0001: enrolled before, left as it is")
    );
    let refused = home.run(&["machine", "take-over", "phantom-0001"]).await;
    assert_eq!(refused.code, 2, "nobody could be asked: {}", refused.stderr);
    let taken = home
        .run(&[
            "machine",
            "take-over",
            "phantom-0001",
            "--yes",
            "-o",
            "json",
        ])
        .await
        .good()
        .json();
    assert_eq!(items(&taken)[0]["machine"]["lifecycle"], "available");
    let shown = home
        .run(&["machine", "show", "phantom-0001"])
        .await
        .good()
        .stdout;
    assert!(shown.contains("may hold data    no"), "{shown}");
    assert!(shown.contains("phantom"), "{shown}");

    // A tenant leases it, with the least that one can have.
    home.run(&["organisation", "create", "acme"]).await.good();
    home.run(&["project", "create", "vision", "--organisation", "acme"])
        .await
        .good();
    let secret = home
        .run(&[
            "token",
            "create",
            "alice",
            "--role",
            "member",
            "--project",
            "vision",
        ])
        .await
        .good()
        .stdout;
    home.write("image.raw", vec![7_u8; 2 << 20]);
    let image = ["image", "add", "tiny", "--file", "image.raw", "-o", "json"];
    assert_eq!(
        home.run(&image).await.good().json()["image"]["state"],
        "available"
    );
    let context = ["--context", "alice"];
    let tenant = |arguments: &[&str]| -> Vec<String> {
        arguments
            .iter()
            .chain(&context)
            .map(|s| (*s).to_owned())
            .collect()
    };
    let run = async |arguments: &[&str]| {
        let arguments = tenant(arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        home.run(&arguments).await
    };
    let login = tenant(&login);
    let login: Vec<&str> = login.iter().map(String::as_str).collect();
    home.run_with(&login, &secret).await.good();
    assert_eq!(run(&["machine", "list"]).await.code, 4);
    let offers = run(&["offers", "-o", "json"]).await.good().json();
    let offer = items(&offers)
        .iter()
        .find(|o| o["free"] == 1)
        .expect("one is free");
    let machine_type = offer["machine_type"].as_str().expect("text");
    home.write(
        ".ssh/id_ed25519.pub",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDHGvWbMCtJVHBHOC9vKyHkbzVYcpv0oCzUOyzOmUgJz me@here\n",
    );
    let create = [
        "lease",
        "create",
        "--name",
        "first",
        "--type",
        machine_type,
        "--image",
        "tiny",
        "--term",
        "1d",
        "--tag",
        "a=b",
        "-o",
        "json",
    ];
    // A drive that no machine has is refused before one is taken.
    let tape = [&create[..], &["--root-drive", "largest-tape"]].concat();
    assert_eq!(run(&tape).await.code, 2);
    let none = run(&[&create[..], &["--root-drive", "serial=none"]].concat()).await;
    let said = "the root is wanted on the drive with serial number none";
    assert!(none.stderr.contains(said), "{}", none.stderr);
    assert_ne!(none.code, 0);
    let many = [&create[..], &["--array", "data,level=6,drives=40"]].concat();
    let many = run(&many).await;
    assert!(
        many.stderr.contains("array data (raid6) needs 40 drives"),
        "{}",
        many.stderr
    );
    assert_ne!(many.code, 0);
    let create = [&create[..], &["--root-drive", "largest"]].concat();
    let created = run(&create).await.good();
    assert!(
        created.stderr.contains("Taking the SSH key in"),
        "{}",
        created.stderr
    );
    assert_eq!(
        created.json()["lease"]["state"],
        "active",
        "{}",
        created.stdout
    );
    assert!(created.json()["lease"]["root_drive"].is_string());
    assert_eq!(
        run(&create).await.code,
        4,
        "the name is taken, and none is free"
    );
    users_and_quotas(&home, machine_type).await;
    let tagged = run(&[
        "lease", "tag", "first", "c=d", "--remove", "a", "-o", "json",
    ])
    .await
    .good()
    .json();
    assert_eq!(tagged["tags"], serde_json::json!({ "c": "d" }));
    run(&["lease", "extend", "first", "--by", "3d"])
        .await
        .good();
    let listed = run(&["lease", "list", "--tag", "c=d", "-o", "json"])
        .await
        .good()
        .json();
    assert_eq!(items(&listed).len(), 1);

    // Written anew, it stays the same lease, at the same address.
    let before = run(&["lease", "show", "first", "-o", "json"])
        .await
        .good()
        .json();
    assert_eq!(
        run(&["lease", "reinstall", "first"]).await.code,
        2,
        "nobody could be asked"
    );
    let refused = run(&["lease", "reinstall", "first", "--image", "none", "--yes"]).await;
    assert!(
        refused.code != 0 && refused.stderr.contains("image"),
        "{}",
        refused.stderr
    );
    let again = ["lease", "reinstall", "first", "--yes", "-o", "json"];
    let again = run(&again).await.good().json();
    assert_eq!(again["lease"]["state"], "active");
    for same in ["id", "machine", "addresses", "active_at", "tags", "ends_at"] {
        assert_eq!(again["lease"][same], before[same], "{same}");
    }
    assert_ne!(again["operation"]["id"], before["operation"]);
    assert_eq!(again["lease"]["visits"][0]["kind"], "reinstall");

    layouts(&run).await;

    // The ramdisk lets the tenant in, and the drive boots again.
    let rescue = run(&["lease", "rescue", "first", "-o", "json"])
        .await
        .good()
        .json();
    assert_eq!(rescue["lease"]["state"], "rescue");
    assert!(rescue["lease"]["rescue"]["host_keys"][0].is_string());
    assert_eq!(run(&["lease", "rescue", "first"]).await.code, 4);
    let shown = run(&["lease", "show", "first"]).await.good().stdout;
    assert!(
        shown.contains("the ramdisk has let you in since"),
        "{shown}"
    );
    let ended = run(&["lease", "rescue", "first", "--end", "-o", "json"])
        .await
        .good()
        .json();
    assert_eq!(ended["lease"]["state"], "active");
    assert_eq!(ended["lease"]["rescue"], Value::Null);

    // What was read back at writing is there, and it is measured again on request.
    let image = ended["lease"]["image_digest"].clone();
    assert_eq!(
        ended["lease"]["measurements"][0]["when"],
        "before_first_boot"
    );
    assert_eq!(ended["lease"]["measurements"][0]["found"]["content"], image);
    let measured = run(&["lease", "measure", "first", "-o", "json"])
        .await
        .good()
        .json();
    assert_eq!(measured["lease"]["state"], "active");
    assert_eq!(measured["operation"]["kind"], "measure");
    assert_eq!(measured["lease"]["measurements"][1]["when"], "since");
    let visits = measured["lease"]["visits"].as_array().map_or(0, Vec::len);
    assert_eq!(measured["lease"]["visits"][visits - 1]["kind"], "measure");
    let shown = run(&["lease", "show", "first"]).await.good().stdout;
    assert!(
        shown.contains("before its first boot: all of it is the image's"),
        "{shown}"
    );

    let set = ["lease", "set", "first", "--name", "second", "--hostname"];
    let wrong = [&set[..], &["not a name"]].concat();
    assert!(run(&wrong).await.stderr.contains("hostname"));
    let right = [
        &set[..],
        &["node.example.org", "--untag", "c", "-o", "json"],
    ]
    .concat();
    let set = run(&right).await.good().json();
    assert_eq!(set["name"], "second");
    assert_eq!(set["hostname"], "node.example.org");
    assert_eq!(set["tags"], serde_json::json!({}));
    run(&["lease", "set", "second", "--name", "first"])
        .await
        .good();

    // An operator mends the machine under its tenant, who sees why.
    let machine = items(&enrolled)[0]["machine"]["name"].as_str();
    let machine = machine.expect("a name").to_owned();
    let fix = ["machine", "break-fix", &machine, "--reason", "a fan"];
    assert_eq!(run(&fix).await.code, 4, "not for tenants");
    let operator = |words: &[&str]| -> Vec<String> {
        let context = ["--context", "default"];
        words
            .iter()
            .chain(&context)
            .map(|s| (*s).to_owned())
            .collect()
    };
    let by_operator = async |words: &[&str]| {
        let words = operator(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        home.run(&words).await
    };
    by_operator(&fix).await.good();
    let shown = run(&["lease", "show", "first"]).await.good().stdout;
    assert!(
        shown.contains("an operator works on its machine: a fan"),
        "{shown}"
    );
    by_operator(&["machine", "repair", &machine]).await.good();
    let shown = run(&["lease", "show", "first", "-o", "json"])
        .await
        .good()
        .json();
    assert_eq!(shown["state"], "active");

    // And gives it back: erased, with proof that needs no server.
    let released = run(&["lease", "release", "first", "-o", "json"])
        .await
        .good();
    assert_eq!(
        released.json()["lease"]["state"],
        "released",
        "{}",
        released.stdout
    );
    run(&["keys", "export", "--out", "key.pem"]).await.good();
    let lease = released.json()["lease"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let evidence = run(&["evidence", "list", "--lease", &lease, "-o", "json"])
        .await
        .good()
        .json();
    let id = items(&evidence)[0]["id"].as_str().expect("an id");
    run(&["evidence", "export", id, "--out", "erase.json"])
        .await
        .good();
    let verified = home
        .run(&["evidence", "verify", "erase.json", "--trust", "key.pem"])
        .await
        .good()
        .stdout;
    assert!(
        verified.contains("phantom: this machine is not real silicon"),
        "{verified}"
    );
    let seen = run(&["events", "--action", "lease.", "-o", "json"])
        .await
        .good();
    let rows: Vec<serde_json::Value> = seen
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    assert_eq!(rows[0]["action"], "lease.create", "{rows:?}");
    let next = rows[0]["index"].as_u64().expect("a place") + 1;
    let rest = run(&["events", "--action", "lease.", "--from", &next.to_string()])
        .await
        .good();
    assert_eq!(rest.stdout.lines().count(), rows.len() - 1);
    run(&["audit", "export", "--out", "audit.json"])
        .await
        .good();
    let slice = [
        "audit",
        "verify",
        "audit.json",
        "--trust",
        "key.pem",
        "-o",
        "json",
    ];
    let said = home.run(&slice).await.good().json();
    assert!(said["rows"].as_u64() > Some(2));
    assert_eq!(
        run(&["evidence", "export", id, "--out", "erase.json"])
            .await
            .code,
        1
    );

    // A backup restored holds every machine until it was looked at.
    let operator = ["--context", "default"];
    home.run(&["backup", operator[0], operator[1]]).await.good();
    home.run(&["backup", "data", "--out", "backup.db"])
        .await
        .good();
    assert_eq!(
        home.run(&["restore", "backup.db", "--data", "data"])
            .await
            .code,
        4
    );
    server.stop().await;
    home.run(&["restore", "backup.db", "--data", "again"])
        .await
        .good();
    let authority = home.path("data/authority.pem");
    std::fs::copy(authority, home.path("again/authority.pem")).expect("copied");
    let listen = url.strip_prefix("https://").expect("a URL").to_owned();
    let mut again = serve("again", &listen);
    again.extend(["--keys", "data.keys"]);
    let server = Beside::start(&home, &again, "again");
    wait_for(&home.path("again.out")).await;
    let machines = home
        .run(&["machine", "list", "-o", "json", operator[0], operator[1]])
        .await
        .good()
        .json();
    assert!(
        items(&machines)
            .iter()
            .all(|machine| machine["unconfirmed"] == true)
    );
    let confirm = [
        "machine",
        "confirm",
        "phantom-0001",
        "phantom-0002",
        "-o",
        "json",
        operator[0],
        operator[1],
    ];
    let confirmed = home.run(&confirm).await.good().json();
    assert!(
        items(&confirmed)
            .iter()
            .all(|machine| machine["unconfirmed"] == false)
    );

    // Nothing that was said or logged has a secret in it.
    for file in ["serve.err", "again.err", "again.out", "lab.err"] {
        let log = std::fs::read_to_string(home.path(file)).expect("a log");
        assert!(
            !log.contains(token.trim()) && !log.contains(secret.trim()),
            "{file}"
        );
    }
    server.stop().await;
    lab.stop().await;
}

/// A user in a group asks with a token of its own, cut down; and a quota is set, while the lease
/// `first` is held.
async fn users_and_quotas(home: &Home, machine_type: &str) {
    let run = async |line: &str| {
        let mut arguments: Vec<&str> = line.split(' ').collect();
        arguments.extend(["--context", "default"]);
        home.run(&arguments).await
    };
    run("user create bob").await.good();
    run("user create robot --service --owner bob --expires 30d")
        .await
        .good();
    run("group create team").await.good();
    run("group add team bob robot").await.good();
    let shown = run("group grant team --role member --project vision")
        .await
        .good();
    assert!(
        shown.stdout.contains("member in project vision"),
        "{}",
        shown.stdout
    );
    let made = run("token create t --user robot --scope leases:read --scope tokens:read -o json");
    let made = made.await.good().json();
    let id = made["token"]["id"].as_str().expect("an id").to_owned();
    let asks = async |secret: &str, line: &str| {
        let mut command = home.command(&line.split(' ').collect::<Vec<_>>());
        let output = command.env("BILLET_TOKEN", secret).output().await;
        output.expect("it runs").status.code()
    };
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    assert_eq!(asks(&secret, "lease show first").await, Some(0));
    assert_eq!(asks(&secret, "offers").await, Some(4), "it is cut down");
    let rotated = run(&format!("token rotate {id}")).await.good().stdout;
    assert_eq!(asks(&secret, "lease show first").await, Some(6));
    assert_eq!(asks(rotated.trim(), "lease show first").await, Some(0));
    run("user disable bob").await.good();
    assert_eq!(
        asks(rotated.trim(), "lease show first").await,
        Some(6),
        "nobody answers for it"
    );

    run(&format!(
        "quota set --project vision --type {machine_type} --most 1"
    ))
    .await
    .good();
    let quotas = run("quota list -o json").await.good().json();
    assert_eq!(quotas["items"][0]["used"], 1, "{quotas}");
    run(&format!(
        "quota delete --project vision --type {machine_type}"
    ))
    .await
    .good();
}

/// Drives beside the root's: made, kept, made anew, each where the tenant said so.
async fn layouts(run: &impl AsyncFn(&[&str]) -> Ran) {
    let again = ["lease", "reinstall", "first", "--yes", "-o", "json"];
    let none = [&again[..], &["--array", "data", "--scratch"]].concat();
    let none = run(&none).await;
    assert!(
        none.stderr.contains("no drive is left for scratch"),
        "{}",
        none.stderr
    );
    let first = [&again[..], &["--array", "data,mount=/srv/data"]].concat();
    let made = run(&first).await.good().json();
    let arrays = |lease: &Value| lease["lease"]["layout"]["arrays"].clone();
    let data = arrays(&made)[0].clone();
    assert_eq!(data["name"], "data");
    assert_eq!(data["mount"], "/srv/data");
    let written = &made["lease"]["arrays_written"];
    assert_eq!(written[0]["kept"], false, "{written}");
    assert!(written[0]["bytes"].as_u64().is_some_and(|b| b > 1 << 30));

    // All is kept, and bears its mark still.
    let kept = run(&[&again[..], &["--keep-data-drives"]].concat()).await;
    let kept = kept.good().json();
    assert_eq!(arrays(&kept), arrays(&made));
    assert_eq!(
        kept["lease"]["arrays_written"][0]["drives"][0]["marked"],
        true
    );
    let visits = kept["lease"]["visits"].as_array().expect("visits");
    let drives = visits.last().expect("a visit")["kept_drives"].clone();
    assert!(
        drives
            .as_array()
            .is_some_and(|d| d.contains(&data["drives"][0]["serial"]))
    );

    // One is kept by its name, and a layout that has it too is refused.
    let none = run(&[&again[..], &["--keep", "date"]].concat()).await;
    assert!(
        none.stderr
            .contains("there is no array date to keep; there is: data"),
        "{}",
        none.stderr
    );
    let twice = run(&[&again[..], &["--keep", "data", "--array", "data"]].concat()).await;
    assert!(
        twice.stderr.contains("would be there twice"),
        "{}",
        twice.stderr
    );
    let file = [&again[..], &["--keep", "data", "--layout", "layout.json"]].concat();
    let file = run(&file).await.good().json();
    assert_eq!(arrays(&file), serde_json::json!([data]));
    let shown = run(&["lease", "show", "first"]).await.good().stdout;
    assert!(shown.contains("data: single of"), "{shown}");
    assert!(shown.contains("kept as it was"), "{shown}");
    assert!(shown.contains("nothing is mounted on a phantom"), "{shown}");
}
