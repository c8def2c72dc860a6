//! Drives as distributions and people make them, and what they boot.

use std::{collections::BTreeMap, io};

use proptest::prelude::*;

use super::*;

const ROOT: &str = "6a9f2c1e-5b3d-4b8e-9a55-1f2e3d4c5b6a";
const BOOT: &str = "0d3c7b1a-1111-4222-8333-944455566677";
const DEBIAN: &str = include_str!("fixtures/debian-12.cfg");
const UBUNTU: &str = include_str!("fixtures/ubuntu.cfg");
const FEDORA: &str = include_str!("fixtures/fedora.cfg");
const STUB: &str = "search.fs_uuid UUID root hd0,gpt1\nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n";

/// A file system in memory.
#[derive(Clone, Debug, Default)]
struct Memory {
    role: Role,
    number: u32,
    uuid: Option<String>,
    label: Option<String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    fn new(role: Role, number: u32, uuid: &str) -> Self {
        Self {
            role,
            number,
            uuid: Some(uuid.into()),
            ..Self::default()
        }
    }

    fn with(mut self, path: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.into(), bytes.as_ref().to_vec());
        self
    }

    fn without(mut self, path: &str) -> Self {
        self.files.remove(path);
        self
    }
}

impl Volume for Memory {
    fn role(&self) -> Role {
        self.role
    }

    fn number(&self) -> u32 {
        self.number
    }

    fn uuid(&self) -> Option<&str> {
        self.uuid.as_deref()
    }

    fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    fn read(&self, path: &str, _: u64) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.get(path).cloned())
    }

    fn size(&self, path: &str) -> io::Result<Option<u64>> {
        Ok(self.files.get(path).map(|f| f.len() as u64))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let below = format!("{}/", path.trim_end_matches('/'));
        let names = self.files.keys().filter_map(|file| {
            let rest = file.strip_prefix(&below)?;
            Some(rest.split('/').next().unwrap_or(rest).to_owned())
        });
        let mut names: Vec<String> = names.collect();
        names.dedup();
        Ok(names)
    }
}

/// A UEFI program with these sections.
fn program(sections: &[(&str, &[u8])]) -> Vec<u8> {
    // MS-DOS header, signature, file header, optional header, section table.
    let mut out = vec![0; 0x40];
    out[..2].copy_from_slice(b"MZ");
    out[0x3c..0x40].copy_from_slice(&0x40u32.to_le_bytes());
    out.extend(b"PE\0\0");
    out.extend(0x8664u16.to_le_bytes());
    out.extend((sections.len() as u16).to_le_bytes());
    out.extend([0; 12]);
    out.extend(240u16.to_le_bytes());
    out.extend(0x22u16.to_le_bytes());
    let mut optional = vec![0; 240];
    optional[..2].copy_from_slice(&0x20Bu16.to_le_bytes());
    optional[108..112].copy_from_slice(&16u32.to_le_bytes());
    out.extend(optional);
    let mut at = (out.len() + 40 * sections.len()).next_multiple_of(512);
    let mut data = Vec::new();
    for (name, bytes) in sections {
        let raw = bytes.len().next_multiple_of(512);
        let mut header = [0; 40];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[8..12].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        header[12..16].copy_from_slice(&(at as u32).to_le_bytes());
        header[16..20].copy_from_slice(&(raw as u32).to_le_bytes());
        header[20..24].copy_from_slice(&(at as u32).to_le_bytes());
        out.extend(header);
        data.extend_from_slice(bytes);
        data.resize(data.len().next_multiple_of(512), 0);
        at += raw;
    }
    out.resize(out.len().next_multiple_of(512), 0);
    out.extend(data);
    out
}

fn systemd_boot() -> Vec<u8> {
    program(&[(".sdmagic", b"#### LoaderInfo: systemd-boot 252 ####")])
}

fn esp(loader: &[u8]) -> Memory {
    Memory::new(Role::System, 15, "1234-ABCD").with(REMOVABLE, loader)
}

fn debian_root() -> Memory {
    Memory::new(Role::Other, 1, ROOT)
        .with("/boot/grub/grub.cfg", DEBIAN)
        .with("/boot/vmlinuz-6.1.0-31-amd64", "kernel")
        .with("/boot/initrd.img-6.1.0-31-amd64", "initrd")
        .with("/boot/vmlinuz-6.1.0-9-amd64", "kernel")
        .with("/boot/initrd.img-6.1.0-9-amd64", "initrd")
}

fn debian() -> [Memory; 2] {
    let stub = STUB.replace("UUID", ROOT);
    [
        esp(b"MZ shim").with("/EFI/debian/grub.cfg", stub),
        debian_root(),
    ]
}

/// `volume:path` of kernel and initrds, and the command line.
fn shown(boots: &Boots) -> (Vec<String>, &str) {
    let all = std::iter::once(&boots.kernel).chain(&boots.initrds);
    let pieces = all.map(|p| format!("{}:{}{}", p.volume, p.path, p.section.unwrap_or("")));
    (pieces.collect(), &boots.cmdline)
}

#[test]
fn what_grub_mkconfig_writes_boots_its_first_entry() {
    let boots = find(&debian()).expect("it boots");
    assert_eq!(boots.loader, Loader::Grub);
    assert_eq!(boots.entry, "Debian GNU/Linux");
    let (pieces, cmdline) = shown(&boots);
    assert_eq!(
        pieces,
        [
            "1:/boot/vmlinuz-6.1.0-31-amd64",
            "1:/boot/initrd.img-6.1.0-31-amd64"
        ]
    );
    assert_eq!(
        cmdline,
        format!(
            "BOOT_IMAGE=/boot/vmlinuz-6.1.0-31-amd64 root=UUID={ROOT} ro console=tty0 console=ttyS0,115200 quiet"
        )
    );
}

#[test]
fn the_entry_that_was_saved_is_the_one() {
    let advanced = format!("gnulinux-advanced-{ROOT}");
    let old = format!("gnulinux-6.1.0-9-amd64-advanced-{ROOT}");
    let title = "Debian GNU/Linux, with Linux 6.1.0-9-amd64";
    for (environment, entry) in [
        (format!("saved_entry={advanced}>{old}"), title),
        ("saved_entry=1>2".to_owned(), title),
        (
            format!("saved_entry=Advanced options for Debian GNU/Linux>{title}"),
            title,
        ),
        // For one boot alone.
        ("saved_entry=0\nnext_entry=1>2".to_owned(), title),
        // A submenu by itself: its first.
        (
            "saved_entry=1".to_owned(),
            "Debian GNU/Linux, with Linux 6.1.0-31-amd64",
        ),
        ("saved_entry=gone".to_owned(), "Debian GNU/Linux"),
        ("saved_entry=17".to_owned(), "Debian GNU/Linux"),
        ("saved_entry=".to_owned(), "Debian GNU/Linux"),
    ] {
        let mut drive = debian();
        let block = format!("# GRUB Environment Block\n{environment}\n#######");
        drive[1] = drive[1].clone().with("/boot/grub/grubenv", block);
        let boots = find(&drive).expect("it boots");
        assert_eq!(boots.entry, entry, "{environment}");
    }
}

#[test]
fn a_boot_file_system_of_its_own_and_a_boot_without_initrd() {
    let boot = Memory::new(Role::Boot, 16, BOOT)
        .with("/grub/grub.cfg", UBUNTU)
        .with("/vmlinuz-6.8.0-50-generic", "kernel")
        .with("/initrd.img-6.8.0-50-generic", "initrd");
    let stub = STUB.replace("UUID", BOOT).replace("/boot/grub", "/grub");
    let esp = esp(b"MZ shim").with("/EFI/ubuntu/grub.cfg", stub);
    let boots = find(&[esp.clone(), boot.clone()]).expect("it boots");
    let (pieces, cmdline) = shown(&boots);
    assert_eq!(pieces, ["1:/vmlinuz-6.8.0-50-generic"]);
    assert!(cmdline.ends_with(" console=ttyS0 panic=-1"), "{cmdline}");

    // What the last boot left there.
    let boot = boot.with("/grub/grubenv", "initrdfail=1\n");
    let boots = find(&[esp, boot]).expect("it boots");
    let (pieces, cmdline) = shown(&boots);
    assert_eq!(pieces.len(), 2);
    assert!(
        cmdline.ends_with(" console=tty1 console=ttyS0"),
        "{cmdline}"
    );
}

#[test]
fn fedoras_grub_reads_boot_loader_entries() {
    let entry = |v: &str| {
        format!(
            "title Fedora ({v})\nversion {v}\nlinux /vmlinuz-{v}\ninitrd /initramfs-{v}.img $tuned_initrd\noptions $kernelopts rhgb $tuned_params\ngrub_users $grub_users\n"
        )
    };
    let mut boot = Memory::new(Role::Boot, 2, BOOT)
        .with("/grub2/grub.cfg", FEDORA)
        .with(
            "/grub2/grubenv",
            "kernelopts=root=/dev/mapper/r ro\nboot_success=1\n",
        );
    for v in ["6.9.0", "6.10.0", "0-rescue"] {
        boot = boot
            .with(&format!("/loader/entries/abc-{v}.conf"), entry(v))
            .with(&format!("/vmlinuz-{v}"), "k")
            .with(&format!("/initramfs-{v}.img"), "i");
    }
    let boots = find(std::slice::from_ref(&boot)).expect("it boots");
    let (pieces, cmdline) = shown(&boots);
    assert_eq!(pieces, ["0:/vmlinuz-6.10.0", "0:/initramfs-6.10.0.img"]);
    assert_eq!(
        cmdline,
        "BOOT_IMAGE=(hd0,gpt2)/vmlinuz-6.10.0 root=/dev/mapper/r ro rhgb"
    );
    let saved = boot.with("/grub2/grubenv", "saved_entry=abc-6.9.0\n");
    let boots = find(&[saved]).expect("it boots");
    assert_eq!(boots.entry, "Fedora (6.9.0)");
    assert!(boots.cmdline.contains(" root=UUID=r ro rhgb"));
}

#[test]
fn systemd_boot_takes_the_newest_or_the_one_that_is_named() {
    let entry = |v: &str, more: &str| {
        format!(
            "title Debian\nversion {v}\nsort-key debian\nlinux /debian/{v}/linux\ninitrd /debian/{v}/initrd.img\noptions root=PARTUUID=x\noptions quiet\n{more}"
        )
    };
    let mut drive = esp(&systemd_boot());
    for v in ["6.1.0-9", "6.1.0-10"] {
        drive = drive
            .with(&format!("/loader/entries/debian-{v}.conf"), entry(v, ""))
            .with(&format!("/debian/{v}/linux"), "k")
            .with(&format!("/debian/{v}/initrd.img"), "i");
    }
    // Newer, and not to be taken: not there, of another machine, tried in vain.
    drive = drive
        .with("/loader/entries/debian-7.conf", entry("7", ""))
        .with(
            "/loader/entries/debian-8.conf",
            entry("6.1.0-9", "architecture arm\nversion 8"),
        )
        .with(
            "/loader/entries/debian-9+0-3.conf",
            entry("6.1.0-9", "version 9"),
        );
    let boots = find(std::slice::from_ref(&drive)).expect("it boots");
    assert_eq!(boots.loader, Loader::SystemdBoot);
    assert_eq!(
        shown(&boots),
        (
            vec![
                "0:/debian/6.1.0-10/linux".into(),
                "0:/debian/6.1.0-10/initrd.img".into()
            ],
            "root=PARTUUID=x quiet"
        )
    );
    for (conf, version) in [
        ("timeout 0\ndefault debian-6.1.0-9*\n", "6.1.0-9"),
        ("default debian-9.conf\n", "6.1.0-10"),
        ("default other-*\n", "6.1.0-10"),
        ("default @saved\n", "6.1.0-10"),
        ("", "6.1.0-10"),
    ] {
        let drive = drive.clone().with("/loader/loader.conf", conf);
        let boots = find(&[drive]).expect("it boots");
        assert_eq!(
            boots.kernel.path,
            format!("/debian/{version}/linux"),
            "{conf}"
        );
    }
}

#[test]
fn a_unified_kernel_image_is_taken_apart() {
    let image = |version: &str| {
        let release = format!("ID=tenant\nPRETTY_NAME=\"Tenant\"\nVERSION_ID={version}\n");
        program(&[
            (".osrel", release.as_bytes()),
            (".cmdline", b"root=LABEL=r quiet\n\0"),
            (".initrd", b"initrd"),
            (".ucode", b"microcode"),
            (".linux", b"kernel"),
        ])
    };
    let boots = find(&[esp(&image("1"))]).expect("it boots");
    assert_eq!(boots.loader, Loader::Firmware);
    assert_eq!(boots.entry, "Tenant");
    let (pieces, cmdline) = shown(&boots);
    let at = |section| format!("0:{REMOVABLE}{section}");
    assert_eq!(pieces, [at(".linux"), at(".ucode"), at(".initrd")]);
    assert_eq!(cmdline, "root=LABEL=r quiet");
    assert_eq!(section(&image("1"), ".linux"), Some(&b"kernel"[..]));

    let listed = esp(&systemd_boot())
        .with("/EFI/Linux/tenant-2.efi", image("2"))
        .with("/EFI/Linux/tenant-10.efi", image("10"))
        .with("/EFI/Linux/notes.efi", "no image");
    let boots = find(std::slice::from_ref(&listed)).expect("it boots");
    assert_eq!(boots.loader, Loader::SystemdBoot);
    assert_eq!(boots.kernel.path, "/EFI/Linux/tenant-10.efi");
    let with_add_on = listed.with("/EFI/Linux/tenant-10.efi.extra.d/a.addon.efi", "x");
    let error = find(&[with_add_on]).expect_err("not understood");
    assert!(error.to_string().contains("add-ons"), "{error}");
}

#[test]
fn what_does_not_boot_or_is_not_understood_is_said() {
    let root = debian_root();
    let missing = root.clone().without("/boot/vmlinuz-6.1.0-31-amd64");
    let with = |text: &str| root.clone().with("/boot/grub/grub.cfg", text);
    for (drive, part) in [
        (vec![], "no boot loader"),
        (vec![esp(b"MZ shim")], "no boot loader"),
        (vec![esp(&systemd_boot())], "no boot loader"),
        (vec![missing], "names /boot/vmlinuz-6.1.0-31-amd64"),
        (
            vec![with("menuentry 'x' {\n chainloader /EFI/x.efi\n}")],
            "something else",
        ),
        (vec![with("menuentry 'x' {\n true\n}")], "loads no kernel"),
        (
            vec![with("menuentry 'x' {\n linux (lvm/r)/vmlinuz\n}")],
            "no file system",
        ),
        (vec![with("set x=1\n")], "no entry"),
        (vec![with("while true; do true; done\n")], "a loop"),
        (vec![with("menuentry 'x {\n")], "not closed"),
        (vec![with("if true; then\n")], "\"fi\""),
        (vec![with("fi\n")], "\"fi\""),
        (vec![with("function f {\n f\n}\nf\n")], "without end"),
        (vec![with("function f {\n return\n}\nf\n")], "return"),
        (
            vec![with(
                "function a {\n true\n true\n}\nfunction b {\n a; a; a; a; a; a; a; a\n}\nfunction c {\n b; b; b; b; b; b; b; b\n}\nfunction d {\n c; c; c; c; c; c; c; c\n}\nfunction e {\n d; d; d; d; d; d; d; d\n}\ne; e; e\n",
            )],
            "more commands",
        ),
    ] {
        let error = find(&drive).expect_err(part).to_string();
        assert!(error.contains(part), "{error}: not {part}");
    }
}

#[test]
fn a_kernel_without_a_menu_and_arguments_in_quotes() {
    let root = Memory::new(Role::Other, 3, ROOT)
        .with(
            "/boot/grub/grub.cfg",
            "set a='x y'\nlinux /k \"dyndbg=file a +p\" b=$a c=\"$a\" \\\n  d=\\'e\ninitrd /i1 /i2\nboot\n",
        )
        .with("/k", "k")
        .with("/i1", "i")
        .with("/i2", "i");
    let boots = find(&[root]).expect("it boots");
    let (pieces, cmdline) = shown(&boots);
    assert_eq!(pieces, ["0:/k", "0:/i1", "0:/i2"]);
    assert_eq!(
        cmdline,
        r#"BOOT_IMAGE=/k "dyndbg=file a +p" b=x y "c=x y" d=\'e"#
    );
}

/// Pieces that configurations are made of, put together at random.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("menuentry 'a' --id b {\n"),
        Just("submenu c {\n"),
        Just("}\n"),
        Just("if [ "),
        Just(" ]; then\n"),
        Just("elif true; then "),
        Just("else\n"),
        Just("fi\n"),
        Just("linux /k $x \"${y}\" "),
        Just("initrd /i\n"),
        Just("set default=\"${z}\"\n"),
        Just("function f {\n"),
        Just("f\n"),
        Just("search --fs-uuid --set=root 6a9f2c1e-5b3d-4b8e-9a55-1f2e3d4c5b6a\n"),
        Just("configfile /boot/grub/grub.cfg\n"),
        Just("load_env\n"),
        Just("blscfg\n"),
        Just("'"),
        Just("\""),
        Just("${"),
        Just("-a -o ! ="),
        Just("\\"),
        Just(";"),
        Just("1>2>"),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_configuration_takes_the_program_down(text in soup(), raw in "\\PC{0,200}") {
        for said in [&text, &raw] {
            let root = debian_root()
                .with("/boot/grub/grub.cfg", said)
                .with("/boot/grub/grubenv", said)
                .with("/k", "k");
            let stub = esp(b"MZ").with("/EFI/x/grub.cfg", said).with("/loader/loader.conf", said);
            let entries = esp(&systemd_boot())
                .with("/loader/entries/a.conf", said)
                .with("/loader/loader.conf", said);
            drop(find(&[stub, root]));
            drop(find(&[entries]));
        }
    }

    #[test]
    fn damage_to_a_program_is_no_panic(at in 0usize..2048, value: u8) {
        let mut image = program(&[(".cmdline", b"x"), (".linux", b"kernel"), (".initrd", b"i")]);
        let at = at % image.len();
        image[at] = value;
        drop(find(&[esp(&image)]));
        drop(find(&[esp(&systemd_boot()).with("/EFI/Linux/a.efi", &image)]));
    }

    #[test]
    fn arguments_put_there_come_along(args in prop::collection::vec("[a-z][a-z0-9_.]{0,8}(=[a-zA-Z0-9/,:._-]{1,12})?", 1..6)) {
        let mut grub = debian();
        let config = crate::grub::edit(DEBIAN, &args).expect("a kernel line");
        grub[1] = grub[1].clone().with("/boot/grub/grub.cfg", config);
        let listed = crate::bls::edit("title T\nlinux /k\noptions root=x\n", &args);
        let listed = esp(&systemd_boot()).with("/k", "k").with("/loader/entries/a.conf", listed);
        for boots in [find(&grub), find(&[listed])] {
            let boots = boots.expect("it boots");
            let words: Vec<&str> = boots.cmdline.split(' ').collect();
            for arg in &args {
                prop_assert!(words.contains(&arg.as_str()), "{} in {}", arg, boots.cmdline);
            }
        }
    }
}
