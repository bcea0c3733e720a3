//! What a reader is told about test rows that stand in the training file too.

/// Returns the warning, the same in every task: `found` of the `read` test rows were seen in training.
///
/// * `what`: what these rows are, such as `test texts`.
/// * `dropped`: whether `--drop-overlap` left them out.
pub(crate) fn overlap_warning(found: usize, read: usize, what: &str, dropped: bool) -> String {
    let fate = if dropped {
        "dropped"
    } else {
        "kept; --drop-overlap leaves them out"
    };
    format!("{found} of {read} {what} stand in the training file too ({fate})")
}
