//! Reports of runs.
use crate::plan::Plan;
use crate::run::RunResult;
use std::io;
use std::path::{Path, PathBuf};
/// stub
pub struct RunFolder;
impl RunFolder {
    /// stub
    pub fn write(root: &Path, result: &RunResult, plan: &Plan, _repeat: &str) -> io::Result<PathBuf> {
        let f = root.join(format!("{}-seed{}", result.summary.scenario, result.summary.seed));
        std::fs::create_dir_all(&f)?;
        std::fs::write(f.join("history.jsonl"), &result.history)?;
        std::fs::write(f.join("plan.txt"), plan.to_text())?;
        Ok(f)
    }
}
/// stub
pub mod junit {
    use crate::run::Summary;
    /// stub
    pub fn render(_: &[Summary], _: &[String]) -> String {
        String::new()
    }
}
/// stub
pub mod text {
    use crate::run::Summary;
    /// stub
    pub struct Options {
        /// c
        pub colour: bool,
        /// r
        pub real_seconds: Option<f64>,
    }
    /// stub
    pub fn render(s: &Summary, o: &Options) -> String {
        format!("{:#?} {:?}", s, o.real_seconds)
    }
}
