// Where servers that the suite is also run against are known to differ from AWS, by test, with what they do instead.
// A listed test is expected to fail there: when it passes, the entry is stale and the run says so.

/** As `CONFORMANCE_NAME` calls the server. */
export const differences: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  // Ceph 16.2.15, as Debian 12 has it. One monitor and one OSD (`osd objectstore = memstore`, pools of size 1) are
  // enough; with `auth_client_required = none` radosgw also wants `--ms_mon_client_mode=crc --ms_client_mode=crc`.
  radosgw: {
    'replaces with If-Match only what is still the same': 'If-Match wants the ETag without its quotes',
    'checks and gives back the CRC32 that the SDK adds': 'newer checksums are taken and forgotten',
    'refuses bytes that do not match their checksum': 'newer checksums are not verified',
    'takes the CRC64NVME that the AWS CLI sends, and checks it': 'newer checksums are taken and forgotten',
    'takes streams, framed as aws-chunked with the checksum as trailer': 'trailers are not known',
    'keeps keys as they are: spaces, plus signs, dots, slashes, Unicode, 1024 bytes':
      'a key of 1025 bytes is refused as InvalidObjectName',
    'refuses parts that are small, unknown or out of order': 'the order of parts is not checked',
    'aborts an upload for good': 'a part for an aborted upload is an InternalError',
    'completes under a free key only, with If-None-Match: *': 'the condition is ignored on completion',
  },
  // Version 1.9.2.
  fauxqs: {
    'takes every character XML 1.0 has, and refuses the others': 'characters beyond U+FFFF are refused',
    'refuses to change what is not in flight': 'a message that is visible again can still be changed',
    'refuses handles that are none': 'any text passes for a handle of a message not in flight',
    'hands nothing to a client that has hung up': 'the poll goes on and takes the next message',
    'keeps the message group of a standard queue for fair delivery': 'the group is dropped',
  },
}
