//! Writes a disk image in memory that has a partition table (MBR) and one FAT32 partition.

use std::io::{self, Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use fscommon::StreamSlice;
use mbrman::{BOOT_INACTIVE, CHS, MBR, MBRPartitionEntry};

/// A file on a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardFile {
    /// Name in the root folder.
    pub name: String,
    /// Contents of the file.
    pub bytes: Vec<u8>,
}

/// Bytes of a sector.
const SECTOR: u32 = 512;

/// First sector of the partition, at 1 MiB as partitioning programs have it.
const FIRST_SECTOR: u32 = 2048;

/// Type of a partition with FAT32 whose sectors are addressed by number (LBA).
const FAT32: u8 = 0x0c;

/// Bytes of free space in the partition, for models and pictures that are copied onto the card later.
const SPARE: u64 = 32 << 20;

/// Bytes of the smallest partition. FAT32 needs at least 65,525 clusters, and a cluster is one sector here.
const LEAST: u64 = 64 << 20;

/// Number that identifies disk and partition. It is the same for all cards, so that the same files give the same bytes.
const SIGNATURE: [u8; 4] = *b"RMLP";
/// Name of the partition.
const LABEL: [u8; 11] = *b"RESMLP     ";

/// Returns the whole disk image with `files` in the root folder. All files have the first date that FAT can store,
/// 1980-01-01.
///
/// # Errors
/// Returns an error where FAT does not allow the name of a file.
pub(crate) fn image(files: &[CardFile]) -> io::Result<Vec<u8>> {
    // The last cluster of a file is partly empty, so each file takes up to one cluster more than its length.
    let contents: u64 = files.iter().map(|file| file.bytes.len() as u64 + u64::from(SECTOR)).sum();
    let len = (contents + SPARE).max(LEAST).next_multiple_of(1 << 20);
    let sectors = u32::try_from(len / u64::from(SECTOR)).map_err(io::Error::other)?;
    let start = u64::from(FIRST_SECTOR) * u64::from(SECTOR);
    let mut disk = Cursor::new(vec![0; usize::try_from(start + len).map_err(io::Error::other)?]);
    write_table(&mut disk, sectors).map_err(io::Error::other)?;
    let mut partition = StreamSlice::new(&mut disk, start, start + len)?;
    format_volume(&mut partition, format(sectors))?;
    let volume = FileSystem::new(partition, FsOptions::new())?;
    for file in files {
        let mut target = volume.root_dir().create_file(&file.name)?;
        target.write_all(&file.bytes)?;
        target.flush()?;
    }
    volume.unmount()?;
    Ok(disk.into_inner())
}

/// Writes the partition table.
fn write_table(disk: &mut Cursor<Vec<u8>>, sectors: u32) -> mbrman::Result<()> {
    let mut table = MBR::new_from(disk, SECTOR, SIGNATURE)?;
    table[1] = MBRPartitionEntry {
        boot: BOOT_INACTIVE,
        first_chs: CHS::empty(),
        sys: FAT32,
        last_chs: CHS::empty(),
        starting_lba: FIRST_SECTOR,
        sectors,
    };
    table.write_into(disk)
}

/// Returns the options with which the partition is formatted.
fn format(sectors: u32) -> FormatVolumeOptions {
    FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(SECTOR)
        .total_sectors(sectors)
        .volume_id(u32::from_le_bytes(SIGNATURE))
        .volume_label(LABEL)
}
