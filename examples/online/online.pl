#!/usr/bin/perl
# How many users are online, and who is on a page, by the binary protocol of 2004, as in the talk:
# online.pl [PAGE] [HOST:PORT]; whosonline listens with --historic HOST:PORT. Users are numbers.
use strict;
use warnings;
use IO::Socket::INET;

my $page = shift // '/';
my $place = shift // '127.0.0.1:8989';
my $peer = IO::Socket::INET->new(PeerAddr => $place, Timeout => 5) or die "online.pl: $place: $@\n";
$peer->print(pack('n/a*', $page));
$peer->flush;

sub take {
    my ($length) = @_;
    my $bytes = '';
    while (length $bytes < $length) {
        $peer->sysread($bytes, $length - length $bytes, length $bytes) or die "online.pl: $place has gone\n";
    }
    return $bytes;
}

my ($online, $here, $listed) = unpack 'N3', take(12);
print "$online online, $here on $page\n";
for (1 .. $listed) {
    my ($user, $age) = unpack 'Q>N', take(16);
    printf "%6ds %s\n", $age, $user;
}
