package wire

import "time"

// AppendIn is Append, with a time as a clock in a zone shows it, with its offset; that of UTC where there is
// no zone, or none of its clocks can tell the time in four digits of a year. Times within maps are in UTC.
func (p *Printer) AppendIn(dst []byte, v Value, zone *time.Location) ([]byte, error) {
	if zone == nil || v.Kind != Time {
		return p.Append(dst, v)
	}
	at := TimeOf(v)
	_, offset := at.In(zone).Zone()
	// ISO 8601 has offsets of minutes. Where a zone had seconds, before about 1900, the instant stays exact.
	minutes := offset / 60
	local := at.Add(time.Duration(minutes) * time.Minute)
	if local.Year() < 1 || local.Year() > 9999 {
		return p.Append(dst, v)
	}
	dst = local.AppendFormat(dst, "2006-01-02T15:04:05.000000")
	sign := byte('+')
	if minutes < 0 {
		sign, minutes = '-', -minutes
	}
	hours, minutes := minutes/60, minutes%60
	return append(dst, sign, '0'+byte(hours/10), '0'+byte(hours%10), ':', '0'+byte(minutes/10), '0'+byte(minutes%10)), nil
}
