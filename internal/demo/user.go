package demo

import (
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
)

// player is what a user's messages repeat of the user.
type player struct {
	place
	locale      *locale
	given       string
	fullName    string
	displayName string
	id          string
}

// player makes user i as far as messages need it, and returns the stream that the rest of the profile is
// drawn from.
func (d *Dataset) player(i int) (player, draw) {
	random := newDraw(d.options.Seed, "user", i)
	p := player{place: d.directory.place(&random)}
	// Half by script and half by locale: else 36 Latin locales of 51 leave little for the other fourteen
	// scripts.
	at := random.n(len(d.corpus.locales))
	if random.percent(50) {
		at = pick(&random, pick(&random, d.corpus.byScript))
	}
	p.locale = &d.corpus.locales[at]
	p.given = pick(&random, p.locale.Given)
	family := pick(&random, p.locale.Family)
	switch p.locale.Script {
	case "Hans", "Hant", "Jpan", "Kore":
		p.fullName = family + p.given
	default:
		p.fullName = p.given + " " + family
	}
	p.id = random.digits(16)
	p.displayName = nickname(&random, p)
	return p, random
}

func nickname(random *draw, p player) string {
	switch style := random.n(100); {
	case style < 60:
		return p.fullName
	case style < 80:
		return p.given
	case style < 90:
		return fmt.Sprintf("%s_%d", strings.ToLower(p.given), random.n(100))
	case style < 95:
		return p.given + " " + pick(random, []string{"👑", "🎰", "🦊", "🇧🇷", "👩🏽‍🚀", "❤️", "☆"})
	default:
		return "@" + strings.ToLower(p.given) // what people do write, and a formula start
	}
}

func (d *Dataset) userID(i int) string { return documentID(d.options.Seed, "user/id", i) }

func (d *Dataset) user(i int) Document {
	p, random := d.player(i)
	value := lifetimeValue(&random)
	first := d.within(&random, 3*365*24*time.Hour)
	last := d.within(&random, history)
	if last.Before(first) {
		first, last = last, first
	}
	f := fields{
		"workspaceId": text(p.workspace),
		"mediumId":    text(p.medium),
		"playerId":    text(p.id),
		"displayName": text(p.displayName),
		"avatarUrl":   text("https://avatars.example.com/" + p.id + ".png?s=128&d=identicon"),
		"language":    text(p.locale.Lang),
		"country":     text(p.locale.country),
		"ltv":         double(value),
		"currency":    text(currency(p.locale.country)),
		"tier":        text(tier(value)),
		"tags":        texts(tags(&random, value)...),
		"firstSeenAt": instant(first),
		"lastSeenAt":  instant(last),
	}
	f["personalInfo"] = mapping(d.personalInfo(&random, p, f))
	return Document{"VipUsers/" + d.userID(i), f}
}

// personalInfo makes the map of that name, and sets hasBirthday and, where it is known, birthdayMonth on the
// user.
func (d *Dataset) personalInfo(random *draw, p player, user fields) fields {
	birthday := null()
	known := random.percent(60)
	user["hasBirthday"] = boolean(known)
	if known {
		day := time.Date(1945+random.n(62), 1, 1+random.n(365), 0, 0, 0, 0, time.UTC)
		if random.percent(1) {
			day = time.Date(1992, time.February, 29, 0, 0, 0, 0, time.UTC)
		}
		birthday = text(day.Format(time.DateOnly))
		user["birthdayMonth"] = integer(int64(day.Month()))
	}
	return fields{
		"fullName": text(p.fullName),
		"gender":   text(pick(random, []string{"female", "male", "other", ""})),
		"birthday": birthday,
		"email":    text("player" + p.id[:8] + "@" + pick(random, []string{"example.com", "example.org", "example.net"})),
		"phone":    phone(random),
		"city":     text(pick(random, p.locale.Cities)),
	}
}

// phone returns a number from the ranges kept free for fiction: 555-0100 to 555-0199 in North America, 07700
// 900000 to 900999 in the United Kingdom.
func phone(random *draw) *firestorepb.Value {
	switch random.n(3) {
	case 0:
		return text(fmt.Sprintf("+1-202-555-01%02d", random.n(100)))
	case 1:
		return text(fmt.Sprintf("+44 7700 900%03d", random.n(1000)))
	default:
		return null()
	}
}

// lifetimeValue makes ties common: a quarter of users never paid, another third bought one of a few packs.
func lifetimeValue(random *draw) float64 {
	switch share := random.n(100); {
	case share < 25:
		return 0
	case share < 58:
		return pick(random, []float64{4.99, 9.99, 19.99, 49.99, 100, 250, 999.95})
	case share < 60:
		return -float64(random.n(5000)) / 100 // refunded more than paid
	default:
		// Orders of magnitude from 1 to 100,000, in cents.
		cents := 100 + random.n(900)
		for range random.n(5) {
			cents = cents*10 + random.n(10)
		}
		return float64(cents) / 100
	}
}

func tier(value float64) string {
	switch {
	case value >= 10_000:
		return "diamond"
	case value >= 1_000:
		return "platinum"
	case value >= 250:
		return "gold"
	case value >= 50:
		return "silver"
	default:
		return "bronze"
	}
}

func tags(random *draw, value float64) []string {
	var out []string
	if value >= 5_000 {
		out = append(out, "whale")
	}
	for _, tag := range []string{"newsletter", "beta", "at-risk", "event:summer", "slots & cards", "prefers phone, not chat"} {
		if random.percent(12) {
			out = append(out, tag)
		}
	}
	return out
}

func currency(country string) string {
	switch country {
	case "GB", "JP", "BR", "IN", "TR", "PL", "SE", "CN", "KR":
		return map[string]string{
			"GB": "GBP", "JP": "JPY", "BR": "BRL", "IN": "INR", "TR": "TRY", "PL": "PLN", "SE": "SEK", "CN": "CNY", "KR": "KRW",
		}[country]
	case "DE", "FR", "ES", "IT", "NL", "FI", "GR", "SK", "SI", "LV", "HR", "BE":
		return "EUR"
	default:
		return "USD"
	}
}
