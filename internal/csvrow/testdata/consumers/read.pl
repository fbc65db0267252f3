# As read.mjs, by Text::CSV.
use strict;
use warnings;
use Text::CSV;

my ($path, $delimiter, $encoding) = @ARGV[1, 2, 4];
my $csv = Text::CSV->new({ binary => 1, auto_diag => 2, sep_char => $delimiter });
open my $file, $encoding eq "utf-16" ? "<:raw:encoding(UTF-16)" : "<:raw", $path or die "$path: $!";
while (my $row = $csv->getline($file)) {
    utf8::encode($_) for grep { utf8::is_utf8($_) } @$row; # it decodes where it finds more than ASCII
    print join(",", map { unpack "H*", $_ } @$row), "\n";
}
