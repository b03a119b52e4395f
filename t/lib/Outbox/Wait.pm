# Wait.pm
#    Waiting for conditions: never a fixed sleep, always a limit, and words for what did not come.

package Outbox::Wait;

use strict;
use warnings;
use Carp;
use Exporter 'import';
use Time::HiRes ();

our @EXPORT = qw(poll_until monotonic_s);

# Looked at again so often. Short, since the condition is cheap and the machine's time is not.
use constant POLL_INTERVAL_S => 0.02;

# Generous: a limit says "never", not "slow"; a busy machine with two runs at once must pass.
use constant LIMIT_S => 90;

# Seconds of a clock that nobody sets.
sub monotonic_s
{
	return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC());
}

# Calls $condition until it gives a true value, and returns that. Dies after $limit_s (default
# LIMIT_S), naming $what and the last error that $condition died of, if any: a server that is not
# up yet may refuse in the meantime.
sub poll_until
{
	my ($what, $condition, $limit_s) = @_;
	$limit_s //= LIMIT_S;
	my $end = monotonic_s() + $limit_s;
	my $error;

	while (1)
	{
		my $value = eval { $condition->() };
		$error = $@ || undef;
		return $value if $value;
		last if monotonic_s() >= $end;
		Time::HiRes::sleep(POLL_INTERVAL_S);
	}
	croak "waited $limit_s s in vain for: $what" . ($error ? " (last error: $error)" : '');
}

1;
