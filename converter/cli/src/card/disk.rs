//! A disk in memory: a partition table (MBR) and one FAT32 partition.

use std::io::{self, Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use fscommon::StreamSlice;
use mbrman::{BOOT_INACTIVE, CHS, MBR, MBRPartitionEntry};

/// A file on a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardFile {
    /// Its name in the root folder.
    pub name: String,
    /// Its contents.
    pub bytes: Vec<u8>,
}

const SECTOR: u32 = 512;

/// Where the partition begins: at 1 MiB, as partitioning programs do.
const FIRST_SECTOR: u32 = 2048;

/// FAT32 with addresses of sectors.
const FAT32: u8 = 0x0c;

/// The partition has room for the files and for so many bytes more: models and pictures that are copied onto the card later.
const SPARE: u64 = 32 << 20;

/// The smallest partition: FAT32 wants at least 65,525 clusters, here of one sector.
const LEAST: u64 = 64 << 20;

/// Identifies disk and partition; the same for all cards, so that the same files give the same bytes.
const SIGNATURE: [u8; 4] = *b"RMLP";
const LABEL: [u8; 11] = *b"RESMLP     ";

/// The whole disk. The partition's times are those that FAT begins with: 1980-01-01.
///
/// # Errors
/// Where a name is none that FAT takes.
pub fn image(files: &[CardFile]) -> io::Result<Vec<u8>> {
    // A file's last cluster is half empty on average; never more than a whole one.
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

fn format(sectors: u32) -> FormatVolumeOptions {
    FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(SECTOR)
        .total_sectors(sectors)
        .volume_id(u32::from_le_bytes(SIGNATURE))
        .volume_label(LABEL)
}
