//! Every file in `transcripts/`, played against a frozen copy of the live process, the process itself while it is stopped,
//! what `umdb snapshot` saves of it, its kernel core and its gcore core.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::Signal;
use umem_tests::{
    Outcome, cores,
    transcript::{Scene, Transcript},
};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let trials = Transcript::all()
        .into_iter()
        .flat_map(|transcript| {
            let scenes: Vec<String> = transcript.scenes().into_iter().map(str::to_owned).collect();
            scenes
                .into_iter()
                .map(move |scene| trial(transcript.clone(), scene))
        })
        .collect();
    // Two processors are what a small machine has, and the debugger under test may use threads of its own.
    arguments.test_threads.get_or_insert(2);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(transcript: Transcript, scene: String) -> Trial {
    let name = format!("{}::{}", transcript.name(), scene.replace('-', "_"));
    Trial::test(name.clone(), move || match open(&transcript, &scene) {
        Ok(scene) => transcript.play(&scene).map_err(Failed::from),
        Err(why) => {
            why.report_as(&name);
            Ok(())
        }
    })
}

fn open(transcript: &Transcript, scene: &str) -> Outcome<Scene> {
    let start = transcript.start()?;
    Ok(match scene {
        "live" => Scene::Live(start.wait_ready()),
        "held" => Scene::Held(start.wait_ready()),
        "saved" => Scene::Core(cores::saved(&start.wait_ready())),
        "kernel-core" => Scene::Core(cores::kernel_core(start.wait_ready(), Signal::SIGABRT)?),
        "gcore-core" => Scene::Core(cores::gcore(&start.wait_ready())?),
        "run" => Scene::Run(start),
        other => panic!("{}: nothing plays as {other}", transcript.name()),
    })
}
