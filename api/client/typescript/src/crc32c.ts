// CRC-32C (Castagnoli), eight bytes at a time.

const tables = makeTables();

function makeTables(): Int32Array[] {
  const made = Array.from({ length: 8 }, () => new Int32Array(256));
  for (let i = 0; i < 256; i++) {
    let crc = i;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    made[0]![i] = crc;
  }
  for (let behind = 1; behind < 8; behind++) {
    for (let i = 0; i < 256; i++) {
      const crc = made[behind - 1]![i]!;
      made[behind]![i] = (crc >>> 8) ^ made[0]![crc & 255]!;
    }
  }
  return made;
}

/** The sum of what crc is the sum of and data behind it; 0 is that of nothing. */
export function extend(crc: number, data: Uint8Array): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array];
  let c = ~crc;
  let i = 0;
  for (const whole = data.length - (data.length % 8); i < whole; i += 8) {
    c ^= data[i]! | (data[i + 1]! << 8) | (data[i + 2]! << 16) | (data[i + 3]! << 24);
    c =
      t7[c & 255]! ^
      t6[(c >>> 8) & 255]! ^
      t5[(c >>> 16) & 255]! ^
      t4[c >>> 24]! ^
      t3[data[i + 4]!]! ^
      t2[data[i + 5]!]! ^
      t1[data[i + 6]!]! ^
      t0[data[i + 7]!]!;
  }
  for (; i < data.length; i++) c = (c >>> 8) ^ t0[(c ^ data[i]!) & 255]!;
  return ~c >>> 0;
}

/** A job's crc32c as a number; undefined if it is none. */
export function parse(base64: string): number | undefined {
  if (!/^[A-Za-z0-9+/]{6}==$/.test(base64)) return undefined;
  return Array.from(atob(base64)).reduce((sum, c) => sum * 256 + c.charCodeAt(0), 0);
}
