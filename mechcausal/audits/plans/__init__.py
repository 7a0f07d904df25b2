"""Plans that ship; `mechcausal audit init --template NAME` writes one."""
