# The standing canary: stands where a runtime stands, and says what it can reach from there. Its argument is its port.
# A question has lines "tcp ADDRESS PORT" and "name NAME", and an empty line at its end. The answer repeats each with
#   tcp: open (somebody accepts), refused (somebody is there and does not) or silent      name: answered or silent
# then says "ipv6 ADDRESS INTERFACE" for every IPv6 address that it has, and "end". One question a connection.
use strict; use warnings;
use Errno qw(EINPROGRESS ECONNREFUSED ECONNRESET);
use IO::Handle;
use Socket;

# Longer than the kernel looks for a neighbour (three seconds): else a question could fail by what an earlier one began.
use constant { WAIT_S => 4, ASK_WITHIN_S => 10, MOST => 400 };

# open, refused or silent, from the error number of a connection attempt.
sub outcome {
  my $errno = shift;
  return $errno == 0 ? 'open' : $errno == ECONNREFUSED || $errno == ECONNRESET ? 'refused' : 'silent';
}

sub nameservers {
  open(my $file, '<', '/etc/resolv.conf') or return ();
  return grep { defined } map { /^\s*nameserver\s+([\d.]+)\s*$/ ? $1 : undef } <$file>;
}

# A query for the IPv4 address of a name (RFC 1035, 4.1).
sub query {
  my @labels = split /\./, shift;
  return pack('n6', 0xC1A0, 0x0100, 1, 0, 0, 0) . join('', map { pack('C/a', $_) } @labels) . pack('Cnn', 0, 1, 1);
}

sub answers {
  my (undef, $flags, undef, $count) = unpack('n4', shift);
  return defined $count && !($flags & 15) && $count > 0;
}

# What becomes of each line, all of them tried at once.
sub try_all {
  my %said = map { $_ => 'silent' } @_;
  my (%socket, $asking, $connecting); $asking = $connecting = '';
  for my $line (@_) {
    my ($kind, $where, $port) = split / /, $line;
    my $is_tcp = $kind eq 'tcp';
    for my $host ($is_tcp ? $where : nameservers()) {
      socket(my $made, PF_INET, $is_tcp ? SOCK_STREAM : SOCK_DGRAM, 0) or die "no socket: $!";
      $made->blocking(0);
      my $done = connect($made, pack_sockaddr_in($is_tcp ? $port : 53, inet_aton($host)));
      if ($is_tcp && ($done || $! != EINPROGRESS)) { $said{$line} = outcome($done ? 0 : $!); next }
      send($made, query($where), 0) unless $is_tcp;
      vec($is_tcp ? $connecting : $asking, fileno($made), 1) = 1;
      $socket{fileno($made)} = [$made, $line, $is_tcp];
    }
  }
  my $left = WAIT_S;
  while (%socket && $left > 0) {
    my ($readable, $writable) = ($asking, $connecting);
    (my $count, $left) = select($readable, $writable, undef, $left);
    last if $count <= 0;
    for my $number (keys %socket) {
      my ($made, $line, $is_tcp) = @{$socket{$number}};
      my $told;
      next unless vec($is_tcp ? $writable : $readable, $number, 1);
      if ($is_tcp) { $said{$line} = outcome(unpack('i', getsockopt($made, SOL_SOCKET, SO_ERROR))) }
      elsif (defined recv($made, $told, 1500, 0) && answers($told)) { $said{$line} = 'answered' }
      vec($is_tcp ? $connecting : $asking, $number, 1) = 0;
      delete $socket{$number};
    }
  }
  return map { "$_ $said{$_}\n" } @_;
}

# Format: proc(5), /proc/net/if_inet6. Without IPv6 in the kernel there is no such file.
sub own_ipv6 {
  open(my $file, '<', '/proc/net/if_inet6') or return ();
  return map { my @words = split; $words[5] eq 'lo' ? () : "ipv6 $words[0] $words[5]\n" } <$file>;
}

$SIG{PIPE} = 'IGNORE';
$SIG{ALRM} = sub { die "too slow\n" };
socket(my $server, PF_INET, SOCK_STREAM, 0) or die $!;
setsockopt($server, SOL_SOCKET, SO_REUSEADDR, 1) or die $!;
bind($server, pack_sockaddr_in($ARGV[0], INADDR_ANY)) or die $!;
listen($server, 4) or die $!;
while (1) {
  accept(my $client, $server) or next;
  alarm ASK_WITHIN_S;
  eval {
    my @asked;
    while (my $line = <$client>) {
      last if $line eq "\n" || @asked >= MOST;
      push @asked, $line =~ s/\n\z//r if $line =~ /^(tcp [\d.]+ \d+|name [a-z0-9.-]+)\n\z/;
    }
    print $client try_all(@asked), own_ipv6(), "end\n";
    $client->flush;
  };
  alarm 0;
  close $client;
}
