//! The moments of a run worth telling, so that a failure can be told in five lines.

use crate::words;

/// One moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Virtual microseconds since the start.
    pub at: u64,
    /// Steps taken before it.
    pub step: u64,
    /// The broker it is about (`node.id`), if it is about one.
    pub node: Option<u32>,
    /// What happened.
    pub text: String,
    /// Whether it harmed something for good: a disk, not only the moment.
    pub lasts: bool,
}

/// The moments of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Story {
    moments: Vec<Moment>,
}

impl Story {
    pub(crate) fn tell(&mut self, at: u64, step: u64, node: Option<u32>, text: String) {
        self.moments.push(Moment { at, step, node, text, lasts: false });
    }

    /// What was told last harmed something for good.
    pub(crate) fn that_lasts(&mut self) {
        if let Some(moment) = self.moments.last_mut() {
            moment.lasts = true;
        }
    }

    /// All moments.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// A few moments up to `until`, oldest first: faults and what holds the words of `about` rather than others.
    ///
    /// - A fault on a broker that the failure is about weighs more than any other, however old it is.
    /// - Harm that lasts, as a flipped bit does, weighs more than what passes, as a pause does.
    /// - What is long past pales, but no further than what twenty moments do to it.
    pub fn chain(&self, about: &[String], until: u64, count: usize) -> Vec<Moment> {
        let mut words: Vec<&str> = about.iter().map(|word| word.trim_end_matches([' ', ','])).collect();
        words.sort_unstable();
        words.dedup();
        let worth = |moment: &Moment| {
            let told = words.iter().filter(|word| words::speaks_of(&moment.text, word)).count();
            let concerned = moment.node.is_some_and(|node| words.contains(&format!("broker {node}").as_str()));
            match (moment.text.starts_with("fault: "), concerned || told > 0) {
                (true, true) if moment.lasts => 7,
                (true, true) => 5,
                // It struck all of them, or nobody can say whom.
                (true, false) if moment.node.is_none() => 2,
                (true, false) => 1,
                (false, _) => (2 * told as i64).min(4),
            }
        };
        let before = self.moments.iter().take_while(|moment| moment.at <= until).count();
        let fade = |at: usize| ((before - at) as i64).min(FADED);
        let rank = |at: usize| worth(&self.moments[at]) * WORTH - fade(at);
        let mut ranked: Vec<(i64, usize)> = (0..before).map(|at| (rank(at), at)).collect();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        let mut chosen: Vec<usize> = ranked.into_iter().take(count).map(|(_, at)| at).collect();
        chosen.sort_unstable();
        chosen.into_iter().map(|at| self.moments[at].clone()).collect()
    }
}

/// So many moments later weigh as much as one step of worth.
const WORTH: i64 = 8;
/// So many moments are a long time: what is older pales no further.
const FADED: i64 = 20;

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>3}.{:06} s  step {:<7} {}", self.at / 1_000_000, self.at % 1_000_000, self.step, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_prefers_faults_and_what_the_failure_is_about() {
        let mut story = Story::default();
        for step in 0..20 {
            let text = match step {
                9 => "broker 1 is elected leader of group 7".to_owned(),
                10 => "fault: broker 2 is killed".to_owned(),
                _ => format!("noise {step}"),
            };
            story.tell(step, step, None, text);
        }
        let about = ["group 7".to_owned(), "broker 1 ".to_owned()];
        let chain = story.chain(&about, 17, 4);
        let steps: Vec<u64> = chain.iter().map(|moment| moment.step).collect();
        assert_eq!(steps, [9, 10, 16, 17]);
    }

    #[test]
    fn harm_to_the_broker_concerned_is_told_however_long_ago_it_was() {
        let mut story = Story::default();
        story.tell(1, 1, Some(2), "fault: on broker 2, a bit flips in byte 77 of segment-1-9".to_owned());
        story.that_lasts();
        story.tell(2, 2, Some(12), "fault: on broker 12, a bit flips in byte 7 of segment-1-3".to_owned());
        story.that_lasts();
        story.tell(3, 3, Some(2), "fault: broker 2 stands still for 90 ms (broker 2)".to_owned());
        for step in 4..300 {
            let text = match step {
                298 => "fault: broker 3 stands still for 50 ms (broker 3)".to_owned(),
                _ if step % 3 == 0 => format!("broker 1 is elected leader of group 7 in term {step}"),
                _ => format!("noise {step}"),
            };
            story.tell(step, step, Some(if step == 298 { 3 } else { 1 }), text);
        }
        let steps = |about: &[&str], count: usize| -> Vec<u64> {
            let about: Vec<String> = about.iter().map(|word| (*word).to_owned()).collect();
            story.chain(&about, 299, count).iter().map(|moment| moment.step).collect()
        };
        // Broker 12 is not broker 2, nor does the pause of another tell anything of it.
        assert_eq!(steps(&["broker 2", "broker 2 "], 2), [1, 3]);
        assert_eq!(steps(&["broker 2", "group 7"], 5), [1, 3, 291, 294, 297]);
        assert_eq!(steps(&["broker 12"], 1), [2]);
        assert_eq!(steps(&["broker 3"], 1), [298]);
    }
}
