"""What supervisord reads is what was meant, whatever a path contains."""

import shlex
import signal

from hypothesis import example, given
from hypothesis import strategies as st
from supervisor.options import UnhosedConfigParser

from deploy.local.supervisor.config import command_line, supervisor_config
from deploy.local.supervisor.program import Program, ProgramGroup

# Whatever may stand in a path; a home with control characters is refused.
WORDS = st.text(
    st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(" ;#%\"'\\$"), min_size=1
)


def read(config: str) -> UnhosedConfigParser:
    parser = UnhosedConfigParser()
    parser.read_string(config)
    return parser


@given(st.lists(WORDS, min_size=1))
@example([" "])
def test_a_command_reaches_supervisord_word_for_word(words: list[str]) -> None:
    argv = ["/usr/bin/python", *words]
    parser = read(f"[program:any]\ncommand={command_line(argv)}\n")

    assert shlex.split(parser.saneget("program:any", "command")) == argv


def test_the_last_group_stops_first_and_only_servers_start_by_themselves() -> None:
    servers = ProgramGroup(
        "servers", (Program("postgres", ("postgres",), stop_signal=signal.SIGINT),), autostart=True
    )
    gateway = ProgramGroup(
        "gateways", (Program("gateway-1", ("python",)), Program("gateway-2", ("python",)))
    )

    parser = read(supervisor_config([servers, gateway], "/tmp/s.sock"))

    # supervisord stops the group with the highest priority first.
    assert parser.get("group:servers", "priority") < parser.get("group:gateways", "priority")
    assert parser.get("group:gateways", "programs") == "gateway-1,gateway-2"
    assert parser.get("program:postgres", "autostart") == "true"
    assert parser.get("program:postgres", "stopsignal") == "INT"
    assert parser.get("program:gateway-1", "autostart") == "false"
