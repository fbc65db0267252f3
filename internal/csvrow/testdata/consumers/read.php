<?php
// As read.mjs, by PHP's fgetcsv without its own escapes.
[, , $path, $delimiter] = $argv;
$file = fopen($path, 'rb');
while (($row = fgetcsv($file, null, $delimiter, '"', '')) !== false) {
    echo implode(',', array_map('bin2hex', $row)), "\n";
}
