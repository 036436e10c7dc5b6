@echo off
rem Installs Anomaly VAE @VERSION@ beside this file, from wheels\ alone; can be repeated.
rem PYTHON: the python.exe to take, if it is not found by itself.
setlocal
set CODE=2
set "RIGHT=import sys; sys.exit(not sys.version.startswith('@PYTHON@.'))"
if not exist "%~dp0offline.py" goto zipped
if defined PYTHON goto named
rem With call, as either may be a batch file itself.
set "FOUND=py -@PYTHON@"
call %FOUND% -I -c "%RIGHT%" >nul 2>nul
if %ERRORLEVEL%==0 goto found
set "FOUND=python"
call %FOUND% -I -c "%RIGHT%" >nul 2>nul
if %ERRORLEVEL%==0 goto found
goto missing
:named
set "PYTHON=%PYTHON:"=%"
set FOUND="%PYTHON%"
call %FOUND% -I -c "%RIGHT%" >nul 2>nul
if not %ERRORLEVEL%==0 goto missing
:found
call %FOUND% -I "%~dp0offline.py" install
set CODE=%ERRORLEVEL%
goto end
:zipped
>&2 echo error: offline.py is not beside install.bat; unzip the whole file first, and run the install.bat in that folder
goto end
:missing
>&2 echo error: Python @PYTHON@ was not found; install Python @PYTHON@, 64-bit, or set PYTHON to the path of its python.exe
:end
pause
exit /b %CODE%
