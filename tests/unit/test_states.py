"""The tables of states and transitions."""

from shared.states import (
    LOG_STATUS,
    RUN_TERMINAL,
    RUN_TRANSITIONS,
    STEP_OPEN,
    STEP_TRANSITIONS,
    RunStatus,
    StepStatus,
)


def test_every_state_has_its_transitions():
    """No status is missing, and none leads to itself."""
    assert set(RUN_TRANSITIONS) == set(RunStatus)
    assert set(STEP_TRANSITIONS) == set(StepStatus)
    assert all(status not in targets for status, targets in {**RUN_TRANSITIONS, **STEP_TRANSITIONS}.items())


def test_terminal_states_lead_nowhere_and_all_others_lead_to_them():
    """Accepted means terminal: from every state there is a way to an end."""
    for transitions, ends in ((RUN_TRANSITIONS, RUN_TERMINAL), (STEP_TRANSITIONS, set(StepStatus) - STEP_OPEN)):
        assert {status for status, targets in transitions.items() if not targets} == ends
        for status in set(transitions) - set(ends):
            reached, found = {status}, set()
            while reached != found:
                found = set(reached)
                reached |= {target for one in found for target in transitions[one]}
            assert reached & set(ends)


def test_every_state_can_be_reached():
    """From how a run and a step begin."""
    for transitions, start in ((RUN_TRANSITIONS, RunStatus.PENDING), (STEP_TRANSITIONS, StepStatus.READY)):
        assert {start}.union(*transitions.values()) == set(transitions)


def test_only_settled_steps_are_logged():
    """Skipped and cancelled ones leave no entry."""
    assert set(LOG_STATUS) == set(StepStatus) - STEP_OPEN - {StepStatus.SKIPPED, StepStatus.CANCELLED}
