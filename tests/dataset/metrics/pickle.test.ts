// Pickles as Python writes them, by every protocol, and what is refused.
import { expect, test } from 'vitest'
import { readPickle } from '../../../dataset/metrics/benchmarks/pickle.ts'

const tokens = ['the', 'lady', 'with', 'the', 'blue', 'shirt']
const refs = [
  {
    sent_ids: [0, 1],
    file_name: 'COCO_train2014_000000581857_16.jpg',
    ann_id: 1719310,
    ref_id: 0,
    image_id: 581857,
    split: 'train',
    sentences: [
      { tokens, raw: 'THE LADY WITH THE BLUE SHIRT', sent_id: 0, sent: 'the lady with the blue shirt' },
      { tokens: ['café', '你'], raw: 'café 你\n', sent_id: 1, sent: "it's" },
    ],
    category_id: 1,
    again: tokens,
    t: [1, 2.5, -3, true, null, 2 ** 33, 300, 70_000, [], [1], [1, 2]],
  },
]

/** Of Python 3.12, `pickle.dumps(refs, protocol)`. */
const written = {
  0: 'KGxwMAooZHAxClZzZW50X2lkcwpwMgoobHAzCkkwCmFJMQphc1ZmaWxlX25hbWUKcDQKVkNPQ09fdHJhaW4yMDE0XzAwMDAwMDU4MTg1N18xNi5qcGcKcDUKc1Zhbm5faWQKcDYKSTE3MTkzMTAKc1ZyZWZfaWQKcDcKSTAKc1ZpbWFnZV9pZApwOApJNTgxODU3CnNWc3BsaXQKcDkKVnRyYWluCnAxMApzVnNlbnRlbmNlcwpwMTEKKGxwMTIKKGRwMTMKVnRva2VucwpwMTQKKGxwMTUKVnRoZQpwMTYKYVZsYWR5CnAxNwphVndpdGgKcDE4CmFnMTYKYVZibHVlCnAxOQphVnNoaXJ0CnAyMAphc1ZyYXcKcDIxClZUSEUgTEFEWSBXSVRIIFRIRSBCTFVFIFNISVJUCnAyMgpzVnNlbnRfaWQKcDIzCkkwCnNWc2VudApwMjQKVnRoZSBsYWR5IHdpdGggdGhlIGJsdWUgc2hpcnQKcDI1CnNhKGRwMjYKZzE0CihscDI3ClZjYWbpCnAyOAphVlx1NGY2MApwMjkKYXNnMjEKVmNhZukgXHU0ZjYwXHUwMDBhCnAzMApzZzIzCkkxCnNnMjQKVml0J3MKcDMxCnNhc1ZjYXRlZ29yeV9pZApwMzIKSTEKc1ZhZ2FpbgpwMzMKZzE1CnNWdApwMzQKKEkxCkYyLjUKSS0zCkkwMQpOTDg1ODk5MzQ1OTJMCkkzMDAKSTcwMDAwCih0KEkxCnRwMzUKKEkxCkkyCnRwMzYKdHAzNwpzYS4=',
  1: 'XXEAfXEBKFgIAAAAc2VudF9pZHNxAl1xAyhLAEsBZVgJAAAAZmlsZV9uYW1lcQRYIgAAAENPQ09fdHJhaW4yMDE0XzAwMDAwMDU4MTg1N18xNi5qcGdxBVgGAAAAYW5uX2lkcQZKDjwaAFgGAAAAcmVmX2lkcQdLAFgIAAAAaW1hZ2VfaWRxCErh4AgAWAUAAABzcGxpdHEJWAUAAAB0cmFpbnEKWAkAAABzZW50ZW5jZXNxC11xDCh9cQ0oWAYAAAB0b2tlbnNxDl1xDyhYAwAAAHRoZXEQWAQAAABsYWR5cRFYBAAAAHdpdGhxEmgQWAQAAABibHVlcRNYBQAAAHNoaXJ0cRRlWAMAAAByYXdxFVgcAAAAVEhFIExBRFkgV0lUSCBUSEUgQkxVRSBTSElSVHEWWAcAAABzZW50X2lkcRdLAFgEAAAAc2VudHEYWBwAAAB0aGUgbGFkeSB3aXRoIHRoZSBibHVlIHNoaXJ0cRl1fXEaKGgOXXEbKFgFAAAAY2Fmw6lxHFgDAAAA5L2gcR1laBVYCgAAAGNhZsOpIOS9oApxHmgXSwFoGFgEAAAAaXQnc3EfdWVYCwAAAGNhdGVnb3J5X2lkcSBLAVgFAAAAYWdhaW5xIWgPWAEAAAB0cSIoSwFHQAQAAAAAAABK/f///0kwMQpOTDg1ODk5MzQ1OTJMCk0sAUpwEQEAKShLAXRxIyhLAUsCdHEkdHEldWEu',
  2: 'gAJdcQB9cQEoWAgAAABzZW50X2lkc3ECXXEDKEsASwFlWAkAAABmaWxlX25hbWVxBFgiAAAAQ09DT190cmFpbjIwMTRfMDAwMDAwNTgxODU3XzE2LmpwZ3EFWAYAAABhbm5faWRxBkoOPBoAWAYAAAByZWZfaWRxB0sAWAgAAABpbWFnZV9pZHEISuHgCABYBQAAAHNwbGl0cQlYBQAAAHRyYWlucQpYCQAAAHNlbnRlbmNlc3ELXXEMKH1xDShYBgAAAHRva2Vuc3EOXXEPKFgDAAAAdGhlcRBYBAAAAGxhZHlxEVgEAAAAd2l0aHESaBBYBAAAAGJsdWVxE1gFAAAAc2hpcnRxFGVYAwAAAHJhd3EVWBwAAABUSEUgTEFEWSBXSVRIIFRIRSBCTFVFIFNISVJUcRZYBwAAAHNlbnRfaWRxF0sAWAQAAABzZW50cRhYHAAAAHRoZSBsYWR5IHdpdGggdGhlIGJsdWUgc2hpcnRxGXV9cRooaA5dcRsoWAUAAABjYWbDqXEcWAMAAADkvaBxHWVoFVgKAAAAY2Fmw6kg5L2gCnEeaBdLAWgYWAQAAABpdCdzcR91ZVgLAAAAY2F0ZWdvcnlfaWRxIEsBWAUAAABhZ2FpbnEhaA9YAQAAAHRxIihLAUdABAAAAAAAAEr9////iE6KBQAAAAACTSwBSnARAQApSwGFcSNLAUsChnEkdHEldWEu',
  3: 'gANdcQB9cQEoWAgAAABzZW50X2lkc3ECXXEDKEsASwFlWAkAAABmaWxlX25hbWVxBFgiAAAAQ09DT190cmFpbjIwMTRfMDAwMDAwNTgxODU3XzE2LmpwZ3EFWAYAAABhbm5faWRxBkoOPBoAWAYAAAByZWZfaWRxB0sAWAgAAABpbWFnZV9pZHEISuHgCABYBQAAAHNwbGl0cQlYBQAAAHRyYWlucQpYCQAAAHNlbnRlbmNlc3ELXXEMKH1xDShYBgAAAHRva2Vuc3EOXXEPKFgDAAAAdGhlcRBYBAAAAGxhZHlxEVgEAAAAd2l0aHESaBBYBAAAAGJsdWVxE1gFAAAAc2hpcnRxFGVYAwAAAHJhd3EVWBwAAABUSEUgTEFEWSBXSVRIIFRIRSBCTFVFIFNISVJUcRZYBwAAAHNlbnRfaWRxF0sAWAQAAABzZW50cRhYHAAAAHRoZSBsYWR5IHdpdGggdGhlIGJsdWUgc2hpcnRxGXV9cRooaA5dcRsoWAUAAABjYWbDqXEcWAMAAADkvaBxHWVoFVgKAAAAY2Fmw6kg5L2gCnEeaBdLAWgYWAQAAABpdCdzcR91ZVgLAAAAY2F0ZWdvcnlfaWRxIEsBWAUAAABhZ2FpbnEhaA9YAQAAAHRxIihLAUdABAAAAAAAAEr9////iE6KBQAAAAACTSwBSnARAQApSwGFcSNLAUsChnEkdHEldWEu',
  4: 'gASVowEAAAAAAABdlH2UKIwIc2VudF9pZHOUXZQoSwBLAWWMCWZpbGVfbmFtZZSMIkNPQ09fdHJhaW4yMDE0XzAwMDAwMDU4MTg1N18xNi5qcGeUjAZhbm5faWSUSg48GgCMBnJlZl9pZJRLAIwIaW1hZ2VfaWSUSuHgCACMBXNwbGl0lIwFdHJhaW6UjAlzZW50ZW5jZXOUXZQofZQojAZ0b2tlbnOUXZQojAN0aGWUjARsYWR5lIwEd2l0aJRoEIwEYmx1ZZSMBXNoaXJ0lGWMA3Jhd5SMHFRIRSBMQURZIFdJVEggVEhFIEJMVUUgU0hJUlSUjAdzZW50X2lklEsAjARzZW50lIwcdGhlIGxhZHkgd2l0aCB0aGUgYmx1ZSBzaGlydJR1fZQoaA5dlCiMBWNhZsOplIwD5L2glGVoFYwKY2Fmw6kg5L2gCpRoF0sBaBiMBGl0J3OUdWWMC2NhdGVnb3J5X2lklEsBjAVhZ2FpbpRoD4wBdJQoSwFHQAQAAAAAAABK/f///4hOigUAAAAAAk0sAUpwEQEAKUsBhZRLAUsChpR0lHVhLg==',
}

test.each(Object.entries(written))('reads what Python writes by protocol %s', (_, base64) => {
  expect(readPickle(Buffer.from(base64, 'base64'), 'refs.p')).toEqual(refs)
})

test('reads texts of Python 2, as the released files have them', () => {
  // [{'sent': 'it\'s \xc3\xa9', 'split': 'val'}] by protocol 0, and ['val', 'caf\xc3\xa9'] by protocol 2.
  const old = "(lp0\n(dp1\nS'sent'\np2\nS'it\\'s \\xc3\\xa9'\np3\nsS'split'\np4\nS'val'\np5\nsa."
  expect(readPickle(Buffer.from(old, 'latin1'), 'refs.p')).toEqual([{ sent: "it's é", split: 'val' }])
  const binary = Buffer.from('\x80\x02]q\x00(U\x03valq\x01U\x05caf\xc3\xa9q\x02e.', 'latin1')
  expect(readPickle(binary, 'refs.p')).toEqual(['val', 'café'])
})

test('a key called __proto__ is a key', () => {
  const value = readPickle(Buffer.from("}S'__proto__'\nI1\ns.", 'latin1'), 'a.p')
  expect(Object.keys(value as object)).toEqual(['__proto__'])
})

test.each([
  ['calls', 'cos\nsystem\n(S"ls"\ntR.', /operation "c" at byte 0/],
  ['is cut', '\x80\x02]q\x00(U\x03va', /ends at byte 10 inside a value/],
  ['has no end', ']', /ends at byte 1 inside a value/],
  ['is empty', '', /ends at byte 0/],
  ['is text', 'hello', /operation "h"|recalls|ends at byte/],
  ['takes too much', 'a.', /takes more values than it put down/],
  ['ends no list', 'e.', /ends a list that was not begun/],
  ['recalls nothing', 'h\x05.', /recalls value 5/],
  ['has a word for a number', 'Ix\n.', /"x" for a number/],
  ['appends to a number', 'I1\nI2\na.', /adds to what is no list/],
  ['sets a key of a list', ']I1\nI2\ns.', /sets keys of what is no dict/],
])('refuses what %s', (_, text, message) => {
  expect(() => readPickle(Buffer.from(text, 'latin1'), 'refs.p')).toThrow(message)
})
