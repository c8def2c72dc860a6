//! Arrays on the drives that hold no root: a partition table with one partition
//! on each, and in it what marks it as the array's. No file system is made here:
//! the tenant's own system makes it when it boots for the first time.
//!
//! A partition and not the whole drive, since firmware that finds no partition
//! table on a drive has been seen to write one, over whatever stands there.

use std::time::{SystemTime, UNIX_EPOCH};

use billet_model::{
    inventory::Drive,
    layout::{ArrayWritten, Level, MemberWritten},
    measure::{ChangeKind, DriveChange},
    work::ArrayOrder,
};

use crate::{
    aligned::Aligned,
    canary::random,
    device::Device,
    erase::Open,
    error::{DriveError, WriteError},
    find,
    gpt::{self, Partition, Table},
    layout::{self, random_guid},
    md::{self, Array, Place, SECTOR},
    measure::digest_of,
    view::View,
    watch::Watch,
};

/// Bytes that a superblock and what is around it are written in.
const PAGE: usize = 4096;

/// Makes each array that is ordered, or looks whether it is there where it is kept.
///
/// # Errors
/// See [`WriteError`]. Every drive is there and large enough before the first is
/// written to.
pub fn write(
    orders: &[ArrayOrder],
    drives: &[Drive],
    open: Open<'_>,
    watch: &dyn Watch,
) -> Result<Vec<ArrayWritten>, WriteError> {
    let mut opened = Vec::new();
    for order in orders {
        let mut devices = Vec::new();
        for wanted in &order.drives {
            let found = find::find(drives, wanted);
            let drive = match (found, order.kept) {
                (Some(drive), _) => drive,
                // What is to be left alone need not be there.
                (None, true) => {
                    devices.push(None);
                    continue;
                }
                (None, false) => return Err(WriteError::Missing(wanted.clone())),
            };
            let device = open(drive)?;
            if !order.kept
                && extent(device.as_ref())
                    .and_then(|(_, n)| Place::in_front(n))
                    .is_none()
            {
                return Err(WriteError::Unsuitable(format!(
                    "array {}: drive {} has only {} bytes",
                    order.name,
                    wanted.serial,
                    device.size()
                )));
            }
            devices.push(Some(device));
        }
        opened.push(devices);
    }
    let mut written = Vec::new();
    for (order, devices) in orders.iter().zip(&opened) {
        written.push(if order.kept {
            look(order, devices)?
        } else {
            make(order, devices, watch)?
        });
    }
    Ok(written)
}

type Opened = [Option<Box<dyn Device>>];

/// Where the one partition stands and how long it is, in bytes.
fn extent(device: &dyn Device) -> Option<(u64, u64)> {
    let block = u64::from(device.block_bytes());
    let table = Table::blank(device.size(), block, [0; 16])?;
    let end = (table.last_usable() + 1) * block / layout::GRAIN * layout::GRAIN;
    let length = end.checked_sub(layout::GRAIN)?;
    (length > 0).then_some((layout::GRAIN, length))
}

fn make(
    order: &ArrayOrder,
    devices: &Opened,
    watch: &dyn Watch,
) -> Result<ArrayWritten, WriteError> {
    let missing = || WriteError::Unsuitable(format!("array {}: a drive has no room", order.name));
    let mut extents = Vec::new();
    let mut places = Vec::new();
    for device in devices.iter().flatten() {
        let (start, length) = extent(device.as_ref()).ok_or_else(missing)?;
        extents.push((start, length));
        places.push(Place::in_front(length).ok_or_else(missing)?);
    }
    let array = (order.level != Level::Single).then(|| Array {
        name: order.name.as_str(),
        id: *order.id.as_bytes(),
        level: order.level,
        places,
        now: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs()),
    });
    let mut members = Vec::new();
    for (n, device) in devices.iter().flatten().enumerate() {
        let device = device.as_ref();
        watch.may_write()?;
        let (start, length) = extents[n];
        let (kind, unique) = match &array {
            Some(_) => (gpt::LINUX_RAID, random_guid()),
            None => (gpt::LINUX, order.id.to_bytes_le()),
        };
        let mut changes = partition(device, kind, unique, start, length, order.name.as_str())?;
        if let Some(array) = &array {
            let mut own = [0; 16];
            random(&mut own);
            changes.push(mark(device, array, n, own, start)?);
        }
        members.push(MemberWritten {
            serial: order.drives[n].serial.clone(),
            marked: None,
            changes,
        });
    }
    let alone = extents.first().map_or(0, |(_, length)| *length);
    Ok(ArrayWritten {
        name: order.name.clone(),
        kept: false,
        bytes: array.as_ref().map_or(alone, Array::bytes),
        drives: members,
    })
}

/// Writes a partition table with this one partition, and reads it back.
fn partition(
    device: &dyn Device,
    kind: [u8; 16],
    unique: [u8; 16],
    start: u64,
    length: u64,
    name: &str,
) -> Result<Vec<DriveChange>, WriteError> {
    let block = u64::from(device.block_bytes());
    let mut table = Table::blank(device.size(), block, random_guid()).ok_or_else(|| {
        WriteError::Unsuitable(format!("a drive of {} bytes has no room", device.size()))
    })?;
    let partition = Partition {
        number: 0,
        kind,
        unique,
        first: start / block,
        last: (start + length) / block - 1,
    };
    table
        .add(&partition, name)
        .map_err(|e| WriteError::Unsuitable(format!("a partition table: {e}")))?;
    table
        .protect_blank(&mut View::whole(device))
        .and_then(|()| table.write(&mut View::whole(device)))
        .map_err(DriveError::io("writing the partition table", 0))?;
    device.flush().map_err(DriveError::io("flushing", 0))?;
    layout::read_back(device, &table)
}

/// Writes a member's superblock and bitmap, and reads them back.
pub(crate) fn mark(
    device: &dyn Device,
    array: &Array<'_>,
    role: usize,
    own: [u8; 16],
    start: u64,
) -> Result<DriveChange, WriteError> {
    let place = array.places[role];
    let first = start + place.superblock.min(place.bitmap) * SECTOR;
    let bitmap = array.bitmap();
    let mut end = start + place.superblock * SECTOR + PAGE as u64;
    if let Some(bitmap) = &bitmap {
        end = end.max(start + place.bitmap * SECTOR + bitmap.len() as u64);
    }
    let mut buffer = Aligned::zeroed((end - first) as usize);
    let at = |sector: u64| (start + sector * SECTOR - first) as usize;
    if let Some(bitmap) = &bitmap {
        buffer[at(place.bitmap)..][..bitmap.len()].copy_from_slice(bitmap);
    }
    let superblock = array.superblock(role, own);
    buffer[at(place.superblock)..][..superblock.len()].copy_from_slice(&superblock);
    device
        .write(first, &buffer)
        .map_err(DriveError::io("writing an array's superblock", first))?;
    device.flush().map_err(DriveError::io("flushing", first))?;
    let mut again = Aligned::zeroed(buffer.len());
    device
        .read(first, &mut again)
        .map_err(DriveError::io("reading an array's superblock back", first))?;
    if again[..] != buffer[..] {
        return Err(DriveError::Differs { offset: first }.into());
    }
    let bytes = buffer.len() as u64;
    Ok(DriveChange {
        what: ChangeKind::ArrayMark,
        place: layout::place(first, bytes),
        bytes,
        sha256: digest_of(device, first, bytes)
            .map_err(DriveError::io("reading an array's superblock back", first))?,
    })
}

/// Looks whether drives that are left alone bear the array's mark. They are the
/// tenant's, who may have made something else of them.
fn look(order: &ArrayOrder, devices: &Opened) -> Result<ArrayWritten, WriteError> {
    let mut drives = Vec::new();
    for (wanted, device) in order.drives.iter().zip(devices) {
        let marked = match device {
            Some(device) => is_marked(device.as_ref(), order)?,
            None => false,
        };
        drives.push(MemberWritten {
            serial: wanted.serial.clone(),
            marked: Some(marked),
            changes: Vec::new(),
        });
    }
    Ok(ArrayWritten {
        name: order.name.clone(),
        kept: true,
        bytes: 0,
        drives,
    })
}

fn is_marked(device: &dyn Device, order: &ArrayOrder) -> Result<bool, WriteError> {
    let block = u64::from(device.block_bytes());
    let Ok(table) = Table::read(&mut View::whole(device), block) else {
        return Ok(false);
    };
    for partition in table.partitions() {
        if order.level == Level::Single {
            if partition.unique == order.id.to_bytes_le() {
                return Ok(true);
            }
            continue;
        }
        let start = partition.first * block;
        let length = (partition.last + 1).saturating_sub(partition.first) * block;
        let Some(place) = Place::in_front(length) else {
            continue;
        };
        let mut page = Aligned::zeroed(PAGE);
        let at = start + place.superblock * SECTOR;
        device
            .read(at, &mut page)
            .map_err(DriveError::io("reading an array's superblock", at))?;
        if md::array_of(&page) == Some(*order.id.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
