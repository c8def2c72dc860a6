//! Images.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Name,
    image::{Image, ImageKind},
    operation::Operation,
};

/// Add an image.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewImage {
    /// Name.
    pub name: Name,
    /// Whose, by project name; none is the operator's, for everyone.
    #[serde(default)]
    pub project: Option<Name>,
    /// What it is, in a line.
    #[serde(default)]
    pub description: String,
    /// Which kind of image; a disk image where not said.
    #[serde(default)]
    pub kind: ImageKind,
    /// Where to fetch a disk image; none means that it will be uploaded.
    #[serde(default)]
    pub url: Option<String>,
    /// `sha256:<hex>` or `sha512:<hex>` of the bytes as fetched or uploaded.
    #[serde(default)]
    pub checksum: Option<String>,
    /// It brings cloud-init.
    #[serde(default = "yes")]
    pub cloud_init: bool,
    /// It boots with its root mirrored, where that cannot be told by looking.
    #[serde(default)]
    pub root_mirror: bool,
    /// What an install configuration is made of.
    #[serde(default)]
    pub install: Option<NewInstall>,
}

/// What an install configuration is to be made of: a kernel with initrds and a
/// command line, or a script. All parts have an address, or all are uploaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewInstall {
    /// The kernel: a Linux kernel that UEFI can start.
    pub kernel: Option<NewPart>,
    /// The initrds, in the order in which the kernel is to have them.
    pub initrds: Vec<NewPart>,
    /// The kernel's command line. `${billet-url}` and its like stand for what is
    /// the lease's own.
    pub command_line: Option<String>,
    /// The iPXE script.
    pub script: Option<NewPart>,
    /// For how many seconds the installer may run, from 10 to a week; four hours
    /// where not said.
    pub seconds: Option<u64>,
}

/// A part of an install configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NewPart {
    /// Where to fetch it; none means that it will be uploaded.
    pub url: Option<String>,
    /// `sha256:<hex>` or `sha512:<hex>` of its bytes.
    pub checksum: Option<String>,
}

fn yes() -> bool {
    true
}

/// An image and the operation that takes it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageStarted {
    /// The image.
    pub image: Image,
    /// To follow; none where bytes are still to be uploaded.
    pub operation: Option<Operation>,
}
