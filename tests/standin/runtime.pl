#!/usr/bin/perl
# Stands in for OpenClaw in tests: /startupz says "starting", then "started"; SIGTERM ends it.
# Files in the workspace steer it, so that a test can change its ways without changing its container:
#   exit-now (exit code at start)   boot-s (seconds until started)   drain-s (seconds that a drain takes)
use strict; use warnings;
use IO::Socket::INET;
use IO::Select;

sub told { open(my $f, '<', "/home/node/$_[0]") or return $_[1]; my $v = <$f>; chomp $v; return $v }

my $began = time; my $draining = 0;
if (my $code = told('exit-now', 0)) { exit $code }
open(my $log, '>>', '/home/node/starts') or die "no workspace: $!"; print $log "$$ $began\n"; close $log;
$SIG{TERM} = sub { $draining ||= time };
$SIG{PIPE} = 'IGNORE';
my $boot = told('boot-s', 1);
my $server = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => 18789, Listen => 16, ReuseAddr => 1) or die $!;
my $ready = IO::Select->new($server);
while (1) {
  exit 0 if $draining && time - $draining >= told('drain-s', 0);
  next unless $ready->can_read(0.1);
  my $client = $server->accept or next;
  my $request = <$client> // '';
  my $forwarded = 0;
  while (my $line = <$client>) { last if $line =~ /^\r?\n$/; $forwarded = 1 if $line =~ /^x-forwarded-for:/i }
  my ($status, $body) = $draining ? (503, '{"status":"draining"}')
    : time - $began < $boot ? (503, '{"status":"starting"}') : (200, '{"status":"started"}');
  ($status, $body) = (200, '<!doctype html>the UI') unless $request =~ m{^GET /startupz };
  ($status, $body) = (403, '{"error":{"type":"proxy_attribution_required"}}') unless $forwarded;  # as OpenClaw does
  print $client "HTTP/1.1 $status x\r\nContent-Type: application/json\r\nContent-Length: " . length($body)
    . "\r\nConnection: close\r\n\r\n$body";
  close $client;
}
