//! A whole site for one test: a control plane, a lab of machines, and whoever signs in.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Beside, Home, Ran, items, say, text, word};

/// A key that opens nothing, for tenants whom no machine lets in.
pub const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDHGvWbMCtJVHBHOC9vKyHkbzVYcpv0oCzUOyzOmUgJz me@here";

/// A control plane and a lab, started for one test and ended with it.
pub struct Site {
    /// Where all of it lies.
    pub home: Home,
    /// The lab's machines, as it describes them.
    pub machines: Vec<Value>,
    began: Instant,
    title: &'static str,
    server: Option<Beside>,
    serve: Vec<String>,
    starts: u32,
    lab: Option<Beside>,
    api: String,
    http: reqwest::Client,
    login: Vec<String>,
}

impl Site {
    /// A site of a phantom of each of these models; the operator is signed in, and no machine
    /// enrolled. Nothing, with a line that says why, where there is no program to test.
    pub async fn of_phantoms(title: &'static str, models: &[&str]) -> Option<Self> {
        Self::of_phantoms_with(title, models, &[]).await
    }

    /// The same, with more options of the control plane's.
    pub async fn of_phantoms_with(
        title: &'static str,
        models: &[&str],
        serve: &[&str],
    ) -> Option<Self> {
        let program = crate::support::given("BILLET_BIN", title)?;
        let home = Home::new(program);
        // Phantoms boot nothing of it, and look only for the record beside it.
        let ramdisk = home.write("ramdisk.efi", vec![0x4d; 64 * 1024]);
        let count = models.len().to_string();
        let mut lab = vec!["--phantom", count.as_str()];
        for model in models {
            lab.extend(["--phantom-model", model]);
        }
        Some(Self::start(title, home, &ramdisk, (&lab, serve), "127.0.0.1").await)
    }

    /// A site of machines in QEMU with so many drives each, and a phantom after them, and the
    /// image to write on them.
    pub async fn of_emulated(
        title: &'static str,
        count: u32,
        drives: u32,
    ) -> Option<(Self, PathBuf)> {
        use crate::support::given;
        if std::env::var("BILLET_TEST_QEMU").as_deref() != Ok("1") {
            say(&format!("skipped: {title}: BILLET_TEST_QEMU=1 is not set"));
            return None;
        }
        let program = given("BILLET_BIN", title)?;
        let ramdisk = given("BILLET_RAMDISK", title)?;
        let image = given("BILLET_IMAGE", title)?;
        let home = Home::new(program);
        let (count, drives) = (count.to_string(), drives.to_string());
        // The lab's machines know the host's loopback under this address.
        let phantom = ["--phantom", "1", "--phantom-model", "cpu"];
        let machines = ["--machines", &count, "--drives", &drives];
        let lab = [&machines[..], &phantom].concat();
        Some((
            Self::start(title, home, &ramdisk, (&lab, &[]), "10.88.0.1").await,
            image,
        ))
    }

    async fn start(
        title: &'static str,
        home: Home,
        ramdisk: &Path,
        (lab, more): (&[&str], &[&str]),
        seen_at: &str,
    ) -> Self {
        let began = Instant::now();
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let port = free_port();
        let here = format!("127.0.0.1:{port}");
        let (server_url, media_url) = (
            format!("https://{seen_at}:{port}"),
            format!("https://{here}"),
        );
        let serve = [
            "serve",
            "--data",
            "data",
            "--keys",
            "keys",
            "--listen",
            &here,
            "--server-url",
            &server_url,
            "--media-url",
            &media_url,
            "--ramdisk",
            text(ramdisk),
            "--pace",
            "lab",
            "--fetch-allow",
            "127.0.0.1/32",
            "-o",
            "json",
        ];
        let serve = serve.iter().chain(crate::LOUD).chain(more);
        let serve: Vec<String> = serve.map(|s| (*s).to_owned()).collect();
        let mut arguments = vec!["lab", "up", "--dir", "lab", "--manifest", "lab.toml"];
        arguments.extend(lab);
        arguments.extend(["-o", "json"]);
        arguments.extend(crate::LOUD);
        let mut lab = home.start(&arguments, "lab");
        let summary = home.told("lab", &mut lab).await;
        let mut site = Self {
            home,
            machines: summary["machines"].as_array().expect("machines").clone(),
            began,
            title,
            server: None,
            serve,
            starts: 0,
            lab: Some(lab),
            api: word(&summary["api"]).to_owned(),
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            login: Vec::new(),
        };
        let up = site.serve().await;
        let login = ["login", word(&up["server"]), "--fingerprint"];
        site.login = login.iter().map(|s| (*s).to_owned()).collect();
        site.login.push(word(&up["fingerprint"]).to_owned());
        site.login.push("--token-stdin".to_owned());
        site.sign_in("default", word(&up["token"])).await;
        site
    }

    /// Starts the control plane, again where it was ended, and says what it told.
    pub async fn serve(&mut self) -> Value {
        assert!(self.server.is_none(), "it runs");
        self.starts += 1;
        let name = format!("serve-{}", self.starts);
        let arguments: Vec<&str> = self.serve.iter().map(String::as_str).collect();
        let mut server = self.home.start(&arguments, &name);
        let up = self.home.told(&name, &mut server).await;
        self.server = Some(server);
        up
    }

    /// Kills the control plane with SIGKILL, and starts it again.
    pub async fn kill_and_serve(&mut self, when: &str) {
        self.note(&format!("the control plane is killed: {when}"));
        self.server.take().expect("it runs").kill().await;
        self.serve().await;
    }

    /// Asks the control plane to end, and waits until it did.
    pub async fn stop_server(&mut self) {
        self.server.take().expect("it runs").stop().await;
    }

    /// Changes how the control plane is started from now on.
    pub fn serve_with(&mut self, option: &str, value: &str) {
        let at = self.serve.iter().position(|word| word == option);
        self.serve[at.expect("the option") + 1] = value.to_owned();
    }

    /// Ends all of it, and says how long it took.
    pub async fn end(mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        if let Some(lab) = self.lab.take() {
            lab.stop().await;
        }
        self.note("done");
    }

    /// The process id of the control plane.
    #[allow(dead_code, reason = "the figures are taken with it")]
    pub fn server_id(&self) -> u32 {
        self.server.as_ref().expect("it runs").id()
    }

    /// Where the control plane is.
    pub fn server_url(&self) -> &str {
        &self.login[1]
    }

    /// A new token of an operator's.
    pub async fn token(&self) -> String {
        let create = ["token", "create", "another", "--role", "operator"];
        let secret = self.op(&create).await.good().stdout;
        secret.trim().to_owned()
    }

    /// Says how far the test is.
    pub fn note(&self, text: &str) {
        let after = self.began.elapsed().as_secs();
        say(&format!("{} [{after} s]: {text}", self.title));
    }

    async fn sign_in(&self, context: &str, token: &str) {
        let mut login: Vec<&str> = self.login.iter().map(String::as_str).collect();
        login.extend(["--context", context]);
        self.home.run_with(&login, token).await.good();
    }

    /// Runs the program as whoever signed in under `context`.
    pub async fn by(&self, context: &str, arguments: &[&str]) -> Ran {
        let mut all = vec!["--context", context];
        all.extend(arguments);
        self.home.run(&all).await
    }

    /// Runs the program as the operator.
    pub async fn op(&self, arguments: &[&str]) -> Ran {
        self.by("default", arguments).await
    }

    /// What the program, as the operator, answers in JSON.
    pub async fn ask(&self, arguments: &[&str]) -> Value {
        self.ask_by("default", arguments).await
    }

    /// What the program answers in JSON to whoever signed in under `context`.
    pub async fn ask_by(&self, context: &str, arguments: &[&str]) -> Value {
        let mut all = vec!["-o", "json"];
        all.extend(arguments);
        self.by(context, &all).await.good().json()
    }

    /// A project with a member, who is signed in under the project's name.
    pub async fn project(&self, name: &str) {
        let known = self.ask(&["organisation", "list"]).await;
        if items(&known).is_empty() {
            self.op(&["organisation", "create", "acme"]).await.good();
        }
        let create = ["project", "create", name, "--organisation", "acme"];
        self.op(&create).await.good();
        let create = [
            "token",
            "create",
            name,
            "--role",
            "member",
            "--project",
            name,
        ];
        let secret = self.op(&create).await.good().stdout;
        self.sign_in(name, secret.trim()).await;
    }

    /// A small image that phantoms take for one.
    pub async fn tiny_image(&self) {
        self.home.write("image.raw", vec![7_u8; 2 << 20]);
        let add = ["image", "add", "tiny", "--file", "image.raw"];
        self.op(&add).await.good();
    }

    /// Enrolls all that the lab has.
    pub async fn enroll(&self) {
        let enroll = ["machine", "enroll", "-f", "lab.toml"];
        self.op(&enroll).await.good();
    }

    /// Enrolls all that the lab has, and takes all of it over.
    pub async fn take_over(&self) {
        self.enroll().await;
        let names: Vec<String> = (0..self.machines.len()).map(|n| self.name(n)).collect();
        let mut arguments = vec!["machine", "take-over", "--yes"];
        arguments.extend(names.iter().map(String::as_str));
        self.op(&arguments).await.good();
    }

    /// The name of a machine of the lab.
    pub fn name(&self, number: usize) -> String {
        word(&self.machines[number]["name"]).to_owned()
    }

    /// The machine type of the lab's first machine.
    pub fn machine_type(&self) -> String {
        word(&self.machines[0]["machine_type"]).to_owned()
    }

    /// The arguments of a lease of a phantom.
    pub fn lease<'a>(&self, name: &'a str, machine_type: &'a str) -> Vec<&'a str> {
        vec![
            "lease",
            "create",
            "--name",
            name,
            "--type",
            machine_type,
            "--image",
            "tiny",
            "--ssh-key",
            KEY,
        ]
    }

    /// What is known of a machine.
    pub async fn machine(&self, name: &str) -> Value {
        self.ask(&["machine", "show", name]).await
    }

    /// Asks again and again until what is asked for is so; the answer then.
    pub async fn until(
        &self,
        arguments: &[&str],
        what: &str,
        seconds: u64,
        so: impl Fn(&Value) -> bool,
    ) -> Value {
        let began = Instant::now();
        loop {
            let now = self.ask(arguments).await;
            if so(&now) {
                return now;
            }
            assert!(
                began.elapsed() < Duration::from_secs(seconds),
                "not in {seconds} s: {what}\n{now:#}\n{}",
                self.home.log(&format!("serve-{}.err", self.starts))
            );
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Waits until a machine is so in its life.
    pub async fn until_lifecycle(&self, name: &str, lifecycle: &str, seconds: u64) -> Value {
        let what = format!("{name} is {lifecycle}");
        self.until(&["machine", "show", name], &what, seconds, |machine| {
            machine["lifecycle"] == lifecycle
        })
        .await
    }

    /// Arms a fault in the lab.
    pub async fn fault(&self, fault: Value) {
        let url = format!("{}/faults", self.api);
        let answer = self
            .http
            .post(url)
            .json(&fault)
            .send()
            .await
            .expect("answered");
        assert!(answer.status().is_success(), "{fault}: {answer:?}");
    }

    /// Takes all faults away.
    pub async fn no_faults(&self) {
        let url = format!("{}/faults", self.api);
        let answer = self.http.delete(url).send().await.expect("answered");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// How often each fault that is still armed has struck.
    pub async fn faults(&self) -> Vec<Value> {
        let url = format!("{}/faults", self.api);
        let answer = self.http.get(url).send().await.expect("answered");
        answer.json().await.expect("a list")
    }

    /// The power of a machine, as the lab knows it.
    pub async fn true_power(&self, name: &str) -> String {
        let url = format!("{}/machines/{name}", self.api);
        let answer = self.http.get(url).send().await.expect("answered");
        let machine: Value = answer.json().await.expect("a machine");
        word(&machine["power"]).to_owned()
    }

    /// Cuts a machine's power, now.
    pub async fn cut_power(&self, name: &str) {
        let url = format!("{}/machines/{name}/power-cut", self.api);
        let answer = self.http.post(url).send().await.expect("answered");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Erase certificates of a machine.
    pub async fn certificates(&self, machine: &str) -> Vec<Value> {
        let list = ["evidence", "list", "--machine", machine];
        items(&self.ask(&list).await).clone()
    }
}

/// A port for a server that takes it again after every restart: free a moment ago, and not one
/// of those from which connections are given theirs, a thousand of which may be made meanwhile.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let from = std::process::id() * 64;
    let ports = std::iter::repeat_with(|| from + NEXT.fetch_add(1, Ordering::Relaxed));
    ports
        .map(|n| 20_000 + u16::try_from(n % 12_000).expect("less than a port"))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// A fault on one machine.
pub fn fault(machine: &str, at: &str, kind: &str, more: Value) -> Value {
    let mut fault = json!({ "machine": machine, "at": at, "kind": kind });
    for (key, value) in more.as_object().expect("an object") {
        fault[key] = value.clone();
    }
    fault
}
