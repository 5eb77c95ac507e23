//! What all workers of all processes must agree on before one waits for another for ever: where they go on, and the
//! epoch their input ends with.
//!
//! Each worker tells the others over a dataflow of its own. Processes that were given different logs, states or ends
//! stop with a message that names both sides, and exit code 5.

use std::cell::RefCell;
use std::rc::Rc;

use gridflow_inputs::Epoch;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::operators::{Input as _, Inspect};
use timely::worker::Worker;

/// (what is told: 0 where to go on, 1 the end; worker; epoch).
type Word = (u8, u64, Option<Epoch>);

/// What this worker and the others have told.
pub(crate) struct Agreement {
    worker: u64,
    input: InputHandle<u64, CapacityContainerBuilder<Vec<Word>>>,
    heard: Rc<RefCell<Vec<Word>>>,
    told: [Option<Option<Epoch>>; 2],
}

const SUBJECTS: [&str; 2] = ["goes on from", "ends with"];
const END: u8 = 1;

impl Agreement {
    /// Builds the dataflow and tells where this worker goes on.
    pub(crate) fn start(worker: &mut Worker, resumed: Option<Epoch>) -> Self {
        let heard: Rc<RefCell<Vec<Word>>> = Rc::default();
        let mut input = InputHandle::new_with_builder();
        let (index, several) = (worker.index() as u64, worker.peers() > 1);
        let listen = Rc::clone(&heard);
        worker.dataflow::<u64, _, _>(|scope| {
            scope.input_from(&mut input).broadcast().inspect(move |word: &Word| listen.borrow_mut().push(*word));
        });
        let mut agreement = Self { worker: index, input, heard, told: [None; 2] };
        if several {
            agreement.tell(0, resumed);
        }
        agreement
    }

    /// Tells the others that this worker's input ends with `last`.
    pub(crate) fn end(&mut self, last: Option<Epoch>) {
        self.tell(END, last);
    }

    fn tell(&mut self, subject: u8, epoch: Option<Epoch>) {
        self.told[usize::from(subject)] = Some(epoch);
        self.input.send((subject, self.worker, epoch));
        self.input.advance_to(u64::from(subject) + 1);
        self.input.flush();
    }

    /// Ends the process when another worker told something else than this one, or ended before what this one has `fed`.
    pub(crate) fn check(&self, fed: Option<Epoch>) {
        for (subject, worker, epoch) in self.heard.borrow().iter() {
            let own = self.told[usize::from(*subject)].or((*subject == END && fed > *epoch).then_some(fed));
            if let Some(own) = own.filter(|own| own != epoch) {
                let name = |epoch: Option<Epoch>| epoch.map_or("nothing".to_owned(), |epoch| format!("epoch {epoch}"));
                eprintln!(
                    "gridflow: the processes disagree: worker {} {} {}, worker {worker} {}; give all the same log, state and end, and start them again",
                    self.worker,
                    SUBJECTS[usize::from(*subject)],
                    name(own),
                    name(*epoch)
                );
                std::process::exit(crate::EXIT_INTERNAL);
            }
        }
    }
}
