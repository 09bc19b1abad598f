#!/usr/bin/perl
# Stands in for OpenClaw in tests: /startupz says "starting", then "started"; SIGTERM ends it.
# Files in the workspace steer it, so that a test can change its ways without changing its container:
#   exit-now (exit code at start)   boot-s (seconds until started)   drain-s (seconds that a drain takes)
#   busy (a turn is running)   next-job (Unix ms)   polling (a channel's name)   fails (why a model gives no answer)
# It answers the few admin calls that the control plane makes, in OpenClaw's own words. While it is suspended, for two
# minutes or until it is told to go on, it refuses all others, /startupz says "draining", and a file `suspended` is there
# to be seen.
use strict; use warnings;
use IO::Socket::INET;
use IO::Select;

sub told { open(my $f, '<', "/home/node/$_[0]") or return $_[1]; my $v = <$f>; chomp $v; return $v }

my $mark = '/home/node/suspended';
sub suspended { unlink $mark if time - told('suspended', 0) > 120; return -e $mark }

sub admin {
  my ($method) = $_[0] =~ /"method":"([^"]+)"/;
  my ($busy, $at, $polls, $fails) = map { told($_, '') } 'busy', 'next-job', 'polling', 'fails';
  unlink $mark if ($method // '') eq 'gateway.suspend.resume';
  if (($method // '') eq 'gateway.suspend.prepare' && !$busy) { open(my $f, '>', $mark) or die $!; print $f time; close $f }
  elsif (suspended()) { return '{"ok":false,"error":{"message":"unavailable during gateway suspension"}}' }
  my %answer = (
    'gateway.suspend.prepare' => $busy ? '{"status":"busy","blockers":[{"kind":"embedded-run"}]}'
      : '{"status":"ready","suspensionId":"one"}',
    'gateway.suspend.resume' => '{"status":"running"}',
    'cron.list' => $at ? qq({"jobs":[{"nextRunAtMs":$at}]}) : '{"jobs":[]}',
    'channels.status' => $polls ? qq({"channelAccounts":{"$polls":[{"running":true}]}}) : '{"channelAccounts":{}}',
    'models.list' => '{"models":[{"id":"one"}]}',
    'cron.add' => '{"id":"check"}',
    'cron.remove' => '{}',
    'cron.runs' => $fails ? qq({"entries":[{"action":"finished","status":"error","error":"$fails"}]})
      : '{"entries":[{"action":"finished","status":"ok","summary":"ready"}]}',
  );
  my $found = $answer{$method // ''} // return '{"ok":false,"error":{"message":"unknown method"}}';
  return qq({"ok":true,"payload":$found});
}

my $began = time; my $draining = 0;
unlink $mark;
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
  my ($forwarded, $length) = (0, 0);
  while (my $line = <$client>) {
    last if $line =~ /^\r?\n$/; $forwarded = 1 if $line =~ /^x-forwarded-for:/i;
    $length = $1 if $line =~ /^content-length:\s*(\d+)/i;
  }
  my $sent = ''; read($client, $sent, $length) if $length;
  my ($status, $body) = $draining || suspended() ? (503, '{"status":"draining"}')
    : time - $began < $boot ? (503, '{"status":"starting"}') : (200, '{"status":"started"}');
  ($status, $body) = (200, '<!doctype html>the UI') unless $request =~ m{^GET /startupz };
  ($status, $body) = (200, admin($sent)) if $request =~ m{^POST /api/v1/admin/rpc };
  ($status, $body) = (403, '{"error":{"type":"proxy_attribution_required"}}') unless $forwarded;  # as OpenClaw does
  print $client "HTTP/1.1 $status x\r\nContent-Type: application/json\r\nContent-Length: " . length($body)
    . "\r\nConnection: close\r\n\r\n$body";
  close $client;
}
