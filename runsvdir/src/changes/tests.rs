//! What calls for a look and what does not, on real directories.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// `services` with the directory `plain` and the link `web` → `../via/web`, `via` → `sv`, and `sv/web`.
struct Tree {
    root: TempDir,
    changes: Changes,
}

impl Tree {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["services/plain", "sv/web", "other/web", "aside"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        symlink("../via/web", root.path().join("services/web")).unwrap();
        symlink("sv", root.path().join("via")).unwrap();
        let mut tree = Self { root, changes: Changes::new() };
        tree.survey();
        assert!(tree.changes.are_complete());
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn survey(&mut self) {
        let services = self.path("services");
        let mut survey = self.changes.survey(&services);
        survey.follow(OsStr::new("web"));
        survey.finish();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Whether `change` calls for a look; a new survey then takes it for known.
    fn notices(&mut self, change: impl FnOnce(&Self)) -> bool {
        change(self);
        let noticed = self.changes.were_noticed();
        self.survey();
        assert!(!self.changes.were_noticed(), "a survey calls for no look");
        noticed
    }
}

#[test]
fn services_that_come_go_and_are_renamed_are_noticed() {
    let mut tree = Tree::new();
    assert!(tree.notices(|tree| fs::create_dir(tree.path("services/new")).unwrap()));
    assert!(tree.notices(|tree| tree.rename("services/new", "services/newer")));
    assert!(tree.notices(|tree| fs::remove_dir(tree.path("services/newer")).unwrap()));
    assert!(tree.notices(|tree| tree.rename("services/plain", "aside/plain")));
    assert!(tree.notices(|tree| tree.rename("aside/plain", "services/plain")));
}

#[test]
fn what_is_no_service_is_not_noticed() {
    let mut tree = Tree::new();
    assert!(!tree.notices(|tree| fs::create_dir(tree.path("services/.hidden")).unwrap()));
    assert!(!tree.notices(|tree| fs::create_dir(tree.path("unrelated")).unwrap()));
    assert!(!tree.notices(|tree| fs::create_dir(tree.path("sv/unrelated")).unwrap()));
    assert!(!tree.notices(|tree| fs::write(tree.path("services/plain/run"), "").unwrap()));
    assert!(!tree.notices(|tree| fs::write(tree.path("sv/web/run"), "").unwrap()));
    assert!(!tree.notices(|_| {}));
}

#[test]
fn every_part_of_a_links_way_is_watched() {
    let mut tree = Tree::new();
    let retarget = |tree: &Tree| {
        symlink("other", tree.path("via.new")).unwrap();
        tree.rename("via.new", "via");
    };
    assert!(tree.notices(retarget));
    assert!(!tree.notices(|tree| tree.rename("sv/web", "aside/web")), "no longer on the way");
    assert!(tree.notices(|tree| fs::remove_dir(tree.path("other/web")).unwrap()));
    assert!(tree.notices(|tree| fs::create_dir(tree.path("other/web")).unwrap()));
    assert!(tree.notices(|tree| tree.rename("other", "another")));
    assert!(tree.notices(|tree| tree.rename("another", "other")));
}

#[test]
fn a_way_that_is_removed_and_made_anew_is_noticed() {
    let mut tree = Tree::new();
    // A process in a removed directory keeps its removal from being notified.
    let _inside = File::open(tree.path("sv")).unwrap();
    let _deeper = File::open(tree.path("sv/web")).unwrap();
    assert!(tree.notices(|tree| fs::remove_dir(tree.path("sv/web")).unwrap()));
    assert!(tree.notices(|tree| fs::remove_dir(tree.path("sv")).unwrap()));
    assert!(tree.notices(|tree| fs::create_dir_all(tree.path("sv/web")).unwrap()));
}

#[test]
fn the_services_directory_may_be_replaced() {
    let mut tree = Tree::new();
    assert!(tree.notices(|tree| tree.rename("services", "aside/services")));
    assert!(tree.notices(|tree| fs::create_dir(tree.path("services")).unwrap()));
    assert!(tree.notices(|tree| fs::remove_dir(tree.path("services")).unwrap()));
    assert!(tree.notices(|tree| symlink("aside/services", tree.path("services")).unwrap()));
    assert!(tree.notices(|tree| fs::create_dir(tree.path("aside/services/new")).unwrap()));
}

#[test]
fn a_link_in_a_circle_ends() {
    let mut tree = Tree::new();
    fs::remove_file(tree.path("via")).unwrap();
    symlink("via", tree.path("via")).unwrap();
    tree.survey();
    assert!(tree.notices(|tree| fs::remove_file(tree.path("via")).unwrap()));
}

#[test]
fn what_is_not_a_disk_here_is_not_trusted() {
    assert!(!is_local(Path::new("/proc")));
    assert!(!is_local(Path::new("/no/such/directory")));
}
