//! The SMT solver: a process that is started, asked, and killed when it takes too long.

use std::ffi::OsString;
use std::future::Future;
use std::time::Duration;

use cedar_policy::{PolicySet, RequestEnv, Schema};
use cedar_policy_symcc::err::Error as SymError;
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet, Env};
use tokio::process::Command;
use tokio::runtime::Runtime;

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum SolverError {
    /// There is no solver to start.
    #[error(
        "the SMT solver {program} cannot be started ({why}): install it (Debian: apt-get install cvc5) or name it in CVC5"
    )]
    Missing {
        /// What was looked for.
        program: String,
        /// The system's answer.
        why: String,
    },
    /// It failed a question whose answer is known: none of its answers counts.
    #[error(
        "the SMT solver {program} fails a question whose answer is known ({why}): nothing it says is used"
    )]
    Wrong {
        /// The program.
        program: String,
        /// Which question, and what came.
        why: String,
    },
    /// The machine gave no runtime to talk to it.
    #[error("the SMT solver cannot be talked to: {0}")]
    Runtime(String),
}

/// Why one question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// It took longer than it may.
    #[error("no answer within the time limit")]
    Timeout,
    /// The solver said that it does not know, or failed.
    #[error("{0}")]
    Failed(String),
    /// The question cannot be put.
    #[error("{0}")]
    Unsayable(String),
}

/// An answer: no request at all, or one, which may be unreadable.
pub(crate) enum Found<T> {
    /// There is none.
    Nothing,
    /// There is this one.
    Request(Box<T>),
    /// There is one that could not be read back.
    Unreadable(String),
}

/// What a policy set is asked.
pub(super) struct Solver {
    runtime: Runtime,
    program: OsString,
    limit: Duration,
    running: Option<CedarSymCompiler<LocalSolver>>,
}

impl Solver {
    pub(super) fn new(program: OsString, limit: Duration) -> Result<Self, SolverError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| SolverError::Runtime(error.to_string()))?;
        Ok(Self {
            runtime,
            program,
            limit,
            running: None,
        })
    }

    pub(super) fn program(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// Whether it can be started at all.
    pub(super) fn try_start(&mut self) -> Result<(), SolverError> {
        self.running = Some(self.start()?);
        Ok(())
    }

    /// A fresh process.
    fn start(&self) -> Result<CedarSymCompiler<LocalSolver>, SolverError> {
        let missing = |why: String| SolverError::Missing {
            program: self.program(),
            why,
        };
        let mut command = Command::new(&self.program);
        // Its own limit is a second line: the process is killed when ours is over.
        command
            .args(["--lang", "smt"])
            .arg(format!("--tlimit-per={}", self.limit.as_millis()))
            .kill_on_drop(true);
        let _inside = self.runtime.enter();
        let solver = LocalSolver::from_command(&mut command).map_err(|error| match error {
            cedar_policy_symcc::err::SolverError::Io(error) => missing(error.to_string()),
            other => missing(other.to_string()),
        })?;
        CedarSymCompiler::new(solver).map_err(|error| missing(error.to_string()))
    }

    /// One question. After anything but an answer the process is gone, and the next question starts another.
    async fn bounded<T>(
        limit: Duration,
        ask: impl Future<Output = Result<T, SymError>>,
    ) -> Result<T, NoAnswer> {
        match tokio::time::timeout(limit, ask).await {
            Err(_) => Err(NoAnswer::Timeout),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(SymError::SolverUnknown)) => Err(NoAnswer::Failed("the solver does not know".to_owned())),
            Ok(Err(error)) => Err(NoAnswer::Failed(error.to_string())),
        }
    }

    fn with<T>(
        &mut self,
        ask: impl AsyncFn(&mut CedarSymCompiler<LocalSolver>) -> Result<T, SymError>,
    ) -> Result<T, NoAnswer> {
        let mut asked = match self.running.take() {
            Some(running) => running,
            None => self
                .start()
                .map_err(|error| NoAnswer::Failed(error.to_string()))?,
        };
        let limit = self.limit;
        let (answer, asked) = self.runtime.block_on(async {
            let answer = Self::bounded(limit, ask(&mut asked)).await;
            if answer.is_err() {
                // The process dies with its handle; waiting for it is bounded too.
                let _gone = tokio::time::timeout(limit, asked.solver_mut().clean_up()).await;
                return (answer, None);
            }
            (answer, Some(asked))
        });
        self.running = asked;
        answer
    }

    /// A request that both sets allow.
    pub(super) fn both(
        &mut self,
        a: &CompiledPolicySet,
        b: &CompiledPolicySet,
    ) -> Result<Found<Env>, NoAnswer> {
        let found = self.with(async |solver| solver.check_disjoint_with_counterexample_opt(a, b).await);
        match found {
            Ok(found) => Ok(found.map_or(Found::Nothing, |env| Found::Request(Box::new(env)))),
            // An answer that cannot be read back is not an error of the solver: ask for yes or no only.
            Err(NoAnswer::Failed(why)) => Ok(if self.apart(a, b)? {
                Found::Nothing
            } else {
                Found::Unreadable(why)
            }),
            Err(other) => Err(other),
        }
    }

    /// A request that the first set allows and the second does not.
    pub(super) fn beyond(
        &mut self,
        a: &CompiledPolicySet,
        b: &CompiledPolicySet,
    ) -> Result<Found<Env>, NoAnswer> {
        let found = self.with(async |solver| solver.check_implies_with_counterexample_opt(a, b).await)?;
        Ok(found.map_or(Found::Nothing, |env| Found::Request(Box::new(env))))
    }

    /// A request on which the policy errs.
    pub(super) fn error(&mut self, policy: &CompiledPolicy) -> Result<Found<Env>, NoAnswer> {
        let found =
            self.with(async |solver| solver.check_never_errors_with_counterexample_opt(policy).await)?;
        Ok(found.map_or(Found::Nothing, |env| Found::Request(Box::new(env))))
    }

    /// Whether no request is allowed by both.
    pub(super) fn apart(&mut self, a: &CompiledPolicySet, b: &CompiledPolicySet) -> Result<bool, NoAnswer> {
        self.with(async |solver| solver.check_disjoint_opt(a, b).await)
    }
}

/// Compiles a set for one kind of request.
pub(super) fn compiled(
    set: &PolicySet,
    env: &RequestEnv,
    schema: &Schema,
) -> Result<CompiledPolicySet, NoAnswer> {
    CompiledPolicySet::compile(set, env, schema).map_err(|error| NoAnswer::Unsayable(said(&error)))
}

/// Compiles one policy for one kind of request.
pub(super) fn compiled_one(
    policy: &cedar_policy::Policy,
    env: &RequestEnv,
    schema: &Schema,
) -> Result<CompiledPolicy, NoAnswer> {
    CompiledPolicy::compile(policy, env, schema).map_err(|error| NoAnswer::Unsayable(said(&error)))
}

fn said(error: &SymError) -> String {
    match error {
        SymError::PolicyNotWellTyped { errs } => errs
            .first()
            .map_or_else(|| error.to_string(), |first| first.to_string()),
        other => other.to_string(),
    }
}
