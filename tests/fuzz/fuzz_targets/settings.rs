//! Any text as the opt-in files of a service directory: settings within their bounds, or a reason.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use runsv::settings::Settings;

const FILES: [&str; 8] = [
    "restart",
    "down-signal",
    "timeout-kill",
    "timeout-finish",
    "timeout-watchdog",
    "kill-mode",
    "notification-fd",
    "notify-socket",
];

fuzz_target!(|input: (u8, &[u8])| {
    let (file, text) = input;
    let directory = std::env::temp_dir().join(format!("svkit-fuzz-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a temporary directory");
    let path = directory.join(FILES[usize::from(file) % FILES.len()]);
    fs::write(&path, text).expect("a temporary file");
    let (settings, problems) = Settings::read(&directory).expect("there is no shortage of anything");
    fs::remove_file(&path).expect("the file is there");
    assert!(problems.len() <= 1);
    if !problems.is_empty() {
        assert_eq!(settings, Settings::default(), "{problems:?}");
    }
    if let Some(restart) = settings.restart {
        assert!(restart.min <= restart.max && restart.jitter <= 100 && restart.factor >= 1000);
    }
    if let Some(fd) = settings.notification_fd {
        assert!(fd > 2);
    }
});
