"""Questions of privacy: what was memorized, who was a member, what can be inferred, and where it is stored."""
