//! The one way to standard output and standard error: a reader such as `head` may stop listening, and then the command goes
//! on without a word and ends with the exit code of what it did. Any other failure, such as a full disk, is one.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// Prints a line on standard output.
macro_rules! say {
    ($($what:tt)*) => { $crate::cli::output::line(format_args!($($what)*)) };
}

/// Prints a line on standard error.
macro_rules! complain {
    ($($what:tt)*) => { $crate::cli::output::error_line(format_args!($($what)*)) };
}

pub(crate) use {complain, say};

/// Whether what was written is listened to.
///
/// Ends the process when output was lost for another reason than that nobody wants it.
pub(crate) fn is_heard(written: io::Result<()>) -> bool {
    match written {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => false,
        Err(error) => {
            error_line(format_args!("gridflow: cannot write to standard output: {error}"));
            std::process::exit(gridflow::EXIT_INTERNAL);
        }
    }
}

pub(crate) fn line(what: Arguments<'_>) {
    is_heard(writeln!(io::stdout().lock(), "{what}"));
}

pub(crate) fn error_line(what: Arguments<'_>) {
    // Where complaints cannot be written there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{what}");
}
