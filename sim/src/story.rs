//! The moments of a run worth telling, so that a failure can be told in five lines.

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
}

/// The moments of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Story {
    moments: Vec<Moment>,
}

impl Story {
    pub(crate) fn tell(&mut self, at: u64, step: u64, node: Option<u32>, text: String) {
        self.moments.push(Moment { at, step, node, text });
    }

    /// All moments.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// A few moments up to `until`, oldest first: faults and what holds the words of `about` rather than others.
    pub fn chain(&self, about: &[String], until: u64, count: usize) -> Vec<Moment> {
        let worth = |moment: &Moment| {
            let fault = moment.text.starts_with("fault: ");
            let told = about.iter().filter(|word| moment.text.contains(word.as_str())).count();
            match (fault, told) {
                (_, told) if told > 1 => 3,
                (true, _) => 2,
                (false, 1) => 1,
                (false, _) => 0,
            }
        };
        // What is long past pales: eight moments later weigh as much as one step of worth.
        let before = self.moments.iter().take_while(|moment| moment.at <= until).count();
        let rank = |at: usize| worth(&self.moments[at]) * 8 - (before - at) as i64;
        let mut ranked: Vec<(i64, usize)> = (0..before).map(|at| (rank(at), at)).collect();
        ranked.sort_unstable_by(|a, b| b.cmp(a));
        let mut chosen: Vec<usize> = ranked.into_iter().take(count).map(|(_, at)| at).collect();
        chosen.sort_unstable();
        chosen.into_iter().map(|at| self.moments[at].clone()).collect()
    }
}

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
}
