//! Victim programs, transcripts and the harness that plays them.
