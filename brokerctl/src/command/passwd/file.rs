//! The password file as lines. Replaces it whole, so that a broker never reads half of it; leaves every other line as it
//! is.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::Change;
use crate::failure::Failure;

/// Puts a user's line in, or takes it out.
pub(super) fn edit(path: &Path, user: &str, line: Option<&str>) -> Result<Change, Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("`{}`: {error}", path.display()));
    // What a link points to is replaced, not the link.
    let path = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(failed(error)),
    };
    let new = New::create(&path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Failure::Failed(format!(
            "`{}` is there: another brokerctl is at work, or was cut off, and then it may be deleted",
            New::beside(&path).display()
        )),
        _ => failed(error),
    })?;
    let (text, old) = match File::open(&path) {
        Ok(file) => (io::read_to_string(&file).map_err(failed)?, Some(file.metadata().map_err(failed)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), None),
        Err(error) => return Err(failed(error)),
    };
    let (text, change) = changed(&text, user, line)?;
    new.replace(&path, &text, old).map_err(failed)?;
    Ok(change)
}

fn changed(text: &str, user: &str, line: Option<&str>) -> Result<(String, Change), Failure> {
    let is_of_user = |line: &&str| line.split_once(':').is_some_and(|(name, _)| name == user);
    let mut lines: Vec<&str> = text.lines().collect();
    let places: Vec<usize> = (0..lines.len()).filter(|place| is_of_user(&lines[*place])).collect();
    let change = match (places.as_slice(), line) {
        ([], Some(line)) => {
            lines.push(line);
            Change::Added
        }
        ([place], Some(line)) => {
            lines[*place] = line;
            Change::Changed
        }
        ([place], None) => {
            lines.remove(*place);
            Change::Deleted
        }
        ([], None) => return Err(Failure::NotFound(format!("no user is called `{user}`"))),
        ([first, second, ..], _) => {
            let (first, second) = (first + 1, second + 1);
            return Err(Failure::Failed(format!("user `{user}` is there twice, in lines {first} and {second}")));
        }
    };
    Ok((lines.iter().flat_map(|line| [line, "\n"]).collect(), change))
}

/// The file to be, and the lock against another edit. Gone when dropped.
struct New {
    file: File,
    path: PathBuf,
}

impl New {
    fn beside(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        name.into()
    }

    fn create(path: &Path) -> io::Result<Self> {
        let new = Self::beside(path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        Ok(Self { file, path: new })
    }

    /// Owner and mode stay those of the old file: the broker must still be able to read it.
    fn replace(mut self, path: &Path, text: &str, old: Option<std::fs::Metadata>) -> io::Result<()> {
        if let Some(old) = old {
            let new = self.file.metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(&self.file, Some(old.uid()), Some(old.gid()))?;
            }
            self.file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
        }
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        std::fs::rename(&self.path, path)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    }
}

impl Drop for New {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // not there any more where it was renamed
    }
}
