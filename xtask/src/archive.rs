//! Tarballs that depend on nothing but their entries.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// Writes what is below `dir` to the gzipped tarball `path`, as a single folder `name`: entries sorted, owned by root,
/// all changed at `time` (Unix seconds).
pub(crate) fn write(path: &Path, name: &str, dir: &Path, time: u64) -> Result<()> {
    let mut entries = Vec::new();
    collect(dir, &mut entries).with_context(|| format!("unable to list {}", dir.display()))?;
    entries.sort();

    let mut tarball = Builder::new(gzip(path)?);
    for entry in entries {
        let inside = Path::new(name).join(entry.strip_prefix(dir)?);
        append(&mut tarball, &entry, &inside, time)
            .with_context(|| format!("unable to pack {}", entry.display()))?;
    }
    tarball
        .into_inner()
        .and_then(GzEncoder::finish)
        .with_context(|| format!("unable to write {}", path.display()))?;
    Ok(())
}

/// Writes `tar`, a tarball that is reproducible already, to `path`, gzipped.
pub(crate) fn compress(path: &Path, tar: &[u8]) -> Result<()> {
    let mut encoder = gzip(path)?;
    encoder
        .write_all(tar)
        .and_then(|()| encoder.finish())
        .with_context(|| format!("unable to write {}", path.display()))?;
    Ok(())
}

/// A gzip member without name and time.
fn gzip(path: &Path) -> Result<GzEncoder<File>> {
    let file = File::create(path).with_context(|| format!("unable to create {}", path.display()))?;
    Ok(GzBuilder::new().mtime(0).write(file, Compression::best()))
}

fn collect(dir: &Path, entries: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, entries)?;
        }
        entries.push(path);
    }
    Ok(())
}

fn append(tarball: &mut Builder<impl Write>, path: &Path, inside: &Path, time: u64) -> std::io::Result<()> {
    let metadata = fs::metadata(path)?;
    let mut header = Header::new_ustar();
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    if metadata.is_dir() {
        header.set_entry_type(EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        return tarball.append_data(&mut header, inside, std::io::empty());
    }
    let executable = metadata.permissions().mode() & 0o100 != 0;
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_size(metadata.len());
    tarball.append_data(&mut header, inside, File::open(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        dir
    }

    fn tarball_of(tree: &tempfile::TempDir) -> Vec<u8> {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join("x.tar.gz");
        write(&path, "x-1", tree.path(), 1_000_000_000).unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn the_same_files_written_in_another_order_and_place_give_the_same_bytes() {
        let one = tree(&["bin/a", "bin/b", "share/c"]);
        let other = tree(&["share/c", "bin/b", "bin/a"]);
        assert_eq!(tarball_of(&one), tarball_of(&other));
    }

    #[test]
    fn the_tarball_holds_every_file_below_its_one_folder() {
        let bytes = tarball_of(&tree(&["bin/a", "share/c"]));
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let names: Vec<_> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(names, ["x-1/bin", "x-1/bin/a", "x-1/share", "x-1/share/c"].map(PathBuf::from));
    }
}
