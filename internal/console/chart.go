package console

import (
	"fmt"
	"math"
	"time"
)

// Charts are drawn here, as SVG: forty bars need no library, nothing of them runs in the browser, and a
// reader that sees no picture gets the same numbers as a table.
const (
	chartWidth, chartHeight         = 460, 150
	chartLeft, chartTop             = 52, 8
	chartRight, chartBottom float64 = 8, 22
)

// chart is a picture of numbers over time.
type chart struct {
	ID, Title, Sum string
	Width, Height  int
	Bars           []bar
	Lines          []tick // across, with what they stand for
	Marks          []tick // below, the times
	Series         []series
	Rows           []chartRow // the same as a table
	Empty          bool
}

type bar struct {
	X, Y, W, H string
	Class      string
	Title      string
}

type tick struct{ At, From, To, Text string }

// series is a kind of number in a chart.
type series struct {
	Name, Class string
	value       func(i int) float64
}

type chartRow struct {
	At     time.Time
	Values []string
}

// drawn makes a chart of stacked bars, one stack a stretch.
func drawn(c chart, times []time.Time, step time.Duration, show func(float64) string) chart {
	c.Width, c.Height = chartWidth, chartHeight
	most := 0.0
	for i := range times {
		sum := 0.0
		for _, s := range c.Series {
			sum += s.value(i)
		}
		most = max(most, sum)
	}
	c.Empty = most == 0
	top := niceTop(most)
	inner, tall := chartWidth-chartLeft-chartRight, chartHeight-chartTop-chartBottom
	y := func(v float64) float64 { return chartTop + tall - v/top*tall }
	for i := range 3 {
		v := top * float64(i) / 2
		c.Lines = append(c.Lines, tick{At: px(y(v)), From: px(chartLeft), To: px(chartWidth - chartRight), Text: show(v)})
	}
	if len(times) == 0 {
		return c
	}
	wide := inner / float64(len(times))
	for i, t := range times {
		sum, row := 0.0, chartRow{At: t}
		for _, s := range c.Series {
			v := s.value(i)
			row.Values = append(row.Values, show(v))
			if v > 0 {
				c.Bars = append(c.Bars, bar{
					X: px(chartLeft + wide*float64(i) + wide*0.12), Y: px(y(sum + v)), W: px(wide * 0.76), H: px(math.Max(1, v/top*tall)), Class: s.Class,
					Title: fmt.Sprintf("%s, %s: %s", t.UTC().Format("02 Jan 15:04"), s.Name, show(v)),
				})
			}
			sum += v
		}
		c.Rows = append(c.Rows, row)
	}
	every := max(1, (len(times)+5)/6)
	layout := "15:04"
	if step*time.Duration(len(times)) > 36*time.Hour {
		layout = "02 Jan"
	}
	for i := 0; i < len(times); i += every {
		c.Marks = append(c.Marks, tick{At: px(chartLeft + wide*(float64(i)+0.5)), Text: times[i].UTC().Format(layout)})
	}
	return c
}

// niceTop is a round number that is no less than most.
func niceTop(most float64) float64 {
	if most <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(most)))
	for _, by := range []float64{1, 2, 4, 5, 10} {
		if most <= by*unit {
			return by * unit
		}
	}
	return 10 * unit
}

func px(v float64) string { return fmt.Sprintf("%.1f", v) }

// short writes a number of a scale.
func short(v float64) string {
	switch {
	case v >= 1e9:
		return trimmed(v/1e9) + "G"
	case v >= 1e6:
		return trimmed(v/1e6) + "M"
	case v >= 1e4:
		return trimmed(v/1e3) + "k"
	}
	return trimmed(v)
}

func trimmed(v float64) string {
	if v == math.Trunc(v) {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}
